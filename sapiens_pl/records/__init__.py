"""What a run keeps: its folder, its lock, the poses of every picture and why others have none."""
