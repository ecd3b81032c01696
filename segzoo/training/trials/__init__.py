"""Trial runs on a user's recipe: the learning-rate range test, and the proof that a resumed run is exact."""
