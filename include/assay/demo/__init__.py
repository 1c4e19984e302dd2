"""The demonstration: real data, real attacks, a real Airflow, and a table of what was expected and what was seen."""
