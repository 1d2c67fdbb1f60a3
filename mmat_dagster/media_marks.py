"""Marks that a trainer or a student's template takes for a picture, a film or a sound, wherever they stand in a text.

The first two are placeholders of ms-swift and LLaMA-Factory. The others stand for an image in the students' own
templates, which are tokens wherever they stand. wire.IMAGE, the mark that is meant, is none of them.
"""

MEDIA_MARKS = ("<video>", "<audio>", "<img>", "<IMG_CONTEXT>", "<|image|>", "<|image_pad|>", "<|video_pad|>")
