"""What is signed: in-toto statements in DSSE envelopes, and what each step says in them."""
