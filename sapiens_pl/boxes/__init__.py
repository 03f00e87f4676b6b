"""Who is in the pictures: boxes from files of one format each, and the rules that make them usable."""
