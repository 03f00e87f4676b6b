"""Networks: Sapiens and Sapiens2, and every kind of file that holds their weights."""
