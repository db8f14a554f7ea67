"""The attack gallery: what attackers do to a model under each aggregation rule, drawn."""
