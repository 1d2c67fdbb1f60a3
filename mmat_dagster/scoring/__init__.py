"""How good results are: measures against what people have judged."""
