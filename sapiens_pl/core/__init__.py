"""What every room stands on: errors, the tuples that pass between rooms, geometry, files and devices."""
