"""Who is who over the frames of a video, and how they moved: from the records, never inside a batch."""
