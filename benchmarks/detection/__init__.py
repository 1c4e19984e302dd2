"""How well screening finds poison: tables, attacks with known truth, tools, measures."""
