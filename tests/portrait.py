"""A drawn face that detectors take for one."""

from PIL import Image, ImageDraw, ImageFilter

Region = tuple[float, float, float, float]


def face_at(place: tuple[int, int]) -> Region:
    """Return the region of the drawn face, from brow to chin, whose picture was put at `place`."""
    left, top = place
    return (left + 14, top + 36, left + 106, top + 132)


def with_faces(size: tuple[int, int], face: Image.Image, places: tuple[tuple[int, int], ...]) -> Image.Image:
    picture = Image.new("RGB", size, (168, 196, 210))
    for place in places:
        picture.paste(face, place, face)
    return picture


def draw_face() -> Image.Image:
    skin, shade, hair = (236, 196, 170, 255), (184, 150, 132), (60, 40, 30, 255)
    face = Image.new("RGBA", (480, 624), (0, 0, 0, 0))
    oval(face, (0.5, 0.52, 0.42, 0.46), hair)
    oval(face, (0.5, 0.62, 0.36, 0.48), skin)
    oval(face, (0.5, 0.55, 0.33, 0.26), skin)
    face = face.filter(ImageFilter.GaussianBlur(9))
    face.alpha_composite(shadows(face.size, shade))
    for x in (0.34, 0.66):
        draw_eye(face, x, hair)
    draw_mouth(face)
    return face.filter(ImageFilter.GaussianBlur(3)).resize((120, 156), Image.Resampling.LANCZOS)


def shadows(size: tuple[int, int], shade: tuple[int, int, int]) -> Image.Image:
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    for x in (0.34, 0.66):
        oval(layer, (x, 0.565, 0.1, 0.055), (*shade, 190))
    oval(layer, (0.5, 0.74, 0.07, 0.05), (*shade, 150))
    oval(layer, (0.5, 0.93, 0.15, 0.03), (*shade, 120))
    oval(layer, (0.5, 0.66, 0.025, 0.12), (255, 240, 225, 120))
    return layer.filter(ImageFilter.GaussianBlur(12))


def draw_eye(face: Image.Image, x: float, hair: tuple[int, int, int, int]) -> None:
    oval(face, (x, 0.57, 0.075, 0.036), (250, 248, 245, 255))
    oval(face, (x, 0.57, 0.036, 0.036), (70, 45, 30, 255))
    oval(face, (x, 0.57, 0.016, 0.016), (10, 10, 10, 255))
    lid, brow = ((x - 0.085, 0.52, x + 0.085, 0.63), 7), ((x - 0.1, 0.46, x + 0.1, 0.56), 12)
    for (x1, y1, x2, y2), width in (lid, brow):
        corners = [x1 * face.width, y1 * face.width, x2 * face.width, y2 * face.width]
        ImageDraw.Draw(face).arc(corners, 195, 345, fill=hair, width=width)


def draw_mouth(face: Image.Image) -> None:
    for x in (0.46, 0.54):
        oval(face, (x, 0.755, 0.016, 0.009), (90, 50, 40, 255))
    lips = [edge * face.width for edge in (0.37, 0.80, 0.63, 0.92)]
    ImageDraw.Draw(face).chord(lips, 10, 170, fill=(176, 72, 70, 255))


def oval(picture: Image.Image, shape: Region, colour: tuple[int, int, int, int]) -> None:
    """Draw an ellipse given by centre and radii, in shares of the picture's width."""
    x, y, across, down = (value * picture.width for value in shape)
    ImageDraw.Draw(picture).ellipse([x - across, y - down, x + across, y + down], fill=colour)
