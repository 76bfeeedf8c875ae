"""What batch jobs can read that exports know of: people of the audience, and files that exports have written."""
