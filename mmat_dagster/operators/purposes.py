"""When to use the paper's four operators, as the prompts of teacher and student say, whichever backend works."""

from collections.abc import Mapping

PURPOSES: Mapping[str, str] = {
    "image_caption": "describes what the image shows, with regard to the question",
    "label_bbox": "finds the named things in the image and gives the box of each, normalised to 0..1",
    "ocr": "reads the text in the image, line by line, such as tables, signs, receipts and labels",
    "face_detection": "counts the faces in the image and gives the pixel box of each",
}
