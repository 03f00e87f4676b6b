"""What is made of the records: one file each."""
