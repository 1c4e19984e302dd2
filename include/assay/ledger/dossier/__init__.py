"""A model's dossier: what it was trained on and who allowed it, as data, HTML and PDF."""
