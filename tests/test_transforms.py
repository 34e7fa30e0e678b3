"""Transforms of images: values by hand, a draw for each image of a batch, and the seed."""

import pickle

import pytest

import dlgrad
from dlgrad.data import DataLoader, Dataset
from dlgrad.data import transforms as T
from dlgrad.errors import DTypeError, ShapeError


def counting(*shape, dtype=dlgrad.float32):
    """1, 2, 3 ... in a shape."""
    count = 1
    for size in shape:
        count *= size
    return dlgrad.arange(1, count + 1, dtype=dtype).reshape(shape)


def seeded(number=0):
    return dlgrad.Generator().manual_seed(number)


# Numbers ---------------------------------------------------------------------------------------


def test_to_tensor():
    plain = dlgrad.tensor([[0, 51], [102, 255]], dtype=dlgrad.uint8)
    image = T.ToTensor()(plain)
    assert image.dtype is dlgrad.float32 and tuple(image.shape) == (1, 2, 2)
    assert [round(value, 6) for value in image.flatten().tolist()] == [0.0, 0.2, 0.4, 1.0]
    colours = T.ToTensor()(memoryview(bytes(range(6))).cast("B", (1, 2, 3)))
    assert tuple(colours.shape) == (3, 1, 2)
    assert [round(255 * v) for v in colours.flatten().tolist()] == [0, 3, 1, 4, 2, 5]
    floats = counting(3, 2, 2)
    assert T.ToTensor()(floats) is floats
    with pytest.raises(ShapeError):
        T.ToTensor()(dlgrad.zeros(3))


def test_convert_image_dtype():
    floats = dlgrad.tensor([0.0, 0.5, 1.0])
    small = T.ConvertImageDtype(dlgrad.uint8)(floats)
    assert small.dtype is dlgrad.uint8 and small.tolist() == [0, 127, 255]
    assert T.convert_image_dtype(small, dlgrad.float64).tolist() == [0.0, 127 / 255, 1.0]
    wide = T.convert_image_dtype(small, dlgrad.int32)
    assert wide.tolist() == [0, 127 << 23, 255 << 23]
    assert T.convert_image_dtype(wide, dlgrad.uint8).tolist() == [0, 127, 255]
    with pytest.raises(DTypeError):
        T.ConvertImageDtype("uint8")


def test_normalize():
    image = counting(2, 1, 2)
    normalize = T.Normalize([1.0, 2.0], [2.0, 4.0])
    assert normalize(image).tolist() == [[[0.0, 0.5]], [[0.25, 0.5]]]
    assert normalize(dlgrad.stack([image, image]))[1].tolist() == [[[0.0, 0.5]], [[0.25, 0.5]]]
    assert T.Normalize((1.0,), (1.0,))(image).tolist() == [[[0.0, 1.0]], [[2.0, 3.0]]]
    assert T.Normalize(1.0, 1.0, inplace=True)(image) is image and image[0, 0, 0].item() == 0.0
    with pytest.raises(TypeError, match="float tensor"):
        normalize(dlgrad.zeros(2, 1, 2, dtype=dlgrad.uint8))
    with pytest.raises(ValueError, match="std"):
        T.Normalize([0.0], [0.0])


# Places ----------------------------------------------------------------------------------------


def test_pad_crop_and_resize():
    image = counting(1, 2, 2)
    assert T.Pad(1, fill=9)(image).tolist() == [
        [[9, 9, 9, 9], [9, 1, 2, 9], [9, 3, 4, 9], [9, 9, 9, 9]]
    ]
    assert T.Pad((1, 0))(image).tolist() == [[[0, 1, 2, 0], [0, 3, 4, 0]]]
    assert T.Pad((1, 0, 0, 1), padding_mode="edge")(image).tolist() == [
        [[1, 1, 2], [3, 3, 4], [3, 3, 4]]
    ]
    assert T.Pad((1, 0), padding_mode="reflect")(image).tolist() == [[[2, 1, 2, 1], [4, 3, 4, 3]]]
    assert T.CenterCrop(2)(counting(1, 4, 4)).tolist() == [[[6, 7], [10, 11]]]
    assert T.CenterCrop((1, 4))(image).tolist() == [[[0, 1, 2, 0]]]
    assert T.Resize((4, 2), "nearest")(image).tolist() == [[[1, 2], [1, 2], [3, 4], [3, 4]]]
    assert tuple(T.Resize(3)(counting(1, 4, 8)).shape) == (1, 3, 6)
    assert tuple(T.Resize(3)(counting(2, 1, 8, 4)).shape) == (2, 1, 6, 3)
    bytes_ = T.Resize((1, 1))(dlgrad.tensor([[[1, 2], [3, 4]]], dtype=dlgrad.uint8))
    assert bytes_.dtype is dlgrad.uint8 and bytes_.item() in (2, 3)
    assert T.Resize(2)(image) is image


@pytest.mark.parametrize("dtype", [dlgrad.float32, dlgrad.uint8], ids=str)
def test_random_crop(dtype):
    image = counting(2, 4, 5, dtype=dtype)
    crop = T.RandomCrop((3, 4), generator=seeded())
    places = set()
    for _ in range(30):
        part = crop(image)
        first = part[0, 0, 0].item()
        top, left = divmod(int(first) - 1, 5)
        places.add((top, left))
        assert part.tolist() == image[:, top : top + 3, left : left + 4].tolist()
    assert places == {(0, 0), (0, 1), (1, 0), (1, 1)}
    batch = crop(dlgrad.stack([image] * 20))
    assert tuple(batch.shape) == (20, 2, 3, 4) and batch.dtype is dtype
    found = set()
    for part in batch:
        top, left = divmod(int(part[0, 0, 0].item()) - 1, 5)
        found.add((top, left))
        assert part.tolist() == image[:, top : top + 3, left : left + 4].tolist()
    assert len(found) > 1, "each image has its own place"


def test_random_crop_with_padding():
    image = counting(1, 2, 2)
    parts = {str(T.RandomCrop(2, padding=1)(image).tolist()) for _ in range(60)}
    assert len(parts) == 9 and str(image.tolist()) in parts
    assert tuple(T.RandomCrop(4, pad_if_needed=True)(image).shape) == (1, 4, 4)
    with pytest.raises(ValueError, match="larger than input image"):
        T.RandomCrop(3)(image)


@pytest.mark.parametrize("kind, dim", [(T.RandomHorizontalFlip, -1), (T.RandomVerticalFlip, -2)])
def test_random_flips(kind, dim):
    image = counting(1, 2, 3)
    flipped = image.flip(dim).tolist()
    assert kind(1.0)(image).tolist() == flipped and kind(0.0)(image) is image
    batch = kind(generator=seeded(1))(dlgrad.stack([image] * 40))
    turned = [one.tolist() == flipped for one in batch]
    assert 8 < sum(turned) < 32
    assert all(t or one.tolist() == image.tolist() for t, one in zip(turned, batch, strict=True))
    with pytest.raises(ValueError, match="probability"):
        kind(1.5)


def test_random_affine_of_known_maps():
    image = counting(1, 3, 3)
    back = T.RandomRotation((90, 90))(image)
    assert back.tolist() == T.RandomAffine((-90, -90))(image).tolist()
    assert "degrees=(-20.0, 20.0)" in repr(T.RandomRotation(20))
    with pytest.raises(NotImplementedError, match="size"):
        T.RandomRotation(20, expand=True)
    turned = T.RandomAffine((90, 90))(image)
    assert turned.tolist() == [[[7, 4, 1], [8, 5, 2], [9, 6, 3]]], "clockwise"
    assert T.RandomAffine(0)(image).tolist() == image.tolist()
    half = T.RandomAffine(0, scale=(3, 3))(image)
    assert half.tolist() == [[[5.0] * 3] * 3]
    wide = counting(1, 2, 4)
    assert T.RandomAffine((180, 180))(wide).tolist() == wide.flip(1, 2).tolist()
    sheared = T.RandomAffine(0, shear=(45, 45))(counting(1, 3, 5))
    assert sorted(sheared[0, 1].tolist()) == [6, 7, 8, 9, 10], "the middle row stays"
    assert 0 in sheared[0, 0].tolist() and 0 in sheared[0, 2].tolist()
    soft = T.RandomAffine((45, 45), interpolation="bilinear")(image)
    assert abs(soft[0, 1, 1].item() - 5) < 1e-5


def test_random_affine_moves_each_image():
    image = counting(1, 4, 4, dtype=dlgrad.uint8)
    batch = T.RandomAffine(0, translate=(0.25, 0.25), fill=77, generator=seeded())(
        dlgrad.stack([image] * 30)
    )
    assert batch.dtype is dlgrad.uint8
    moved = {str(one.tolist()) for one in batch}
    assert len(moved) > 4 and str(image.tolist()) in moved
    for one in batch:
        values = one.flatten().tolist()
        assert set(values) <= {*range(1, 17), 77} and len(set(values) - {77}) >= 9


def test_random_erasing():
    image = dlgrad.ones(2, 10, 10)
    erased = T.RandomErasing(1.0, scale=(0.2, 0.3), value=[5, 7], generator=seeded())(image)
    hit = (erased[0] == 5).sum().item()
    assert 12 <= hit <= 40 and (erased[0] != 1).sum().item() == hit
    assert ((erased[0] == 5) == (erased[1] == 7)).all().item()
    assert T.RandomErasing(0.0)(image).tolist() == image.tolist()
    batch = T.RandomErasing(0.5, generator=seeded(2))(dlgrad.ones(20, 1, 8, 8))
    untouched = [bool((one == 1).all().item()) for one in batch]
    assert 3 < sum(untouched) < 17
    assert T.RandomErasing(1.0, inplace=True, value=3)(image) is image and image.amax() == 3


def test_settings_that_make_no_sense_are_refused():
    for make in (
        lambda: T.Pad((1, 2, 3)), lambda: T.Pad(1, padding_mode="wrap"), lambda: T.CenterCrop(0),
        lambda: T.Resize(2, "lanczos"), lambda: T.RandomAffine(-1), lambda: T.RandomAffine((1,)),
        lambda: T.RandomAffine(0, translate=(2, 0)), lambda: T.RandomAffine(0, scale=(0, 1)),
        lambda: T.RandomAffine(0, interpolation="cubic"), lambda: T.RandomErasing(scale=(0.5, 0.1)),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            make()
    with pytest.raises(TypeError, match="ToTensor"):
        T.RandomCrop(2)([[1]])
    with pytest.raises(ShapeError, match="channels, height, width"):
        T.RandomCrop(2)(dlgrad.zeros(3, 3))
    with pytest.raises(TypeError):
        T.Lambda(3)


# Together --------------------------------------------------------------------------------------


def test_compose_and_its_text():
    both = T.Compose([T.Lambda(lambda image: image + 1), T.RandomHorizontalFlip(1.0)])
    assert both(counting(1, 1, 2)).tolist() == [[[3, 2]]]
    text = repr(T.Compose([T.ToTensor(), T.Normalize([0.5], [0.25]), T.RandomCrop(8, 1)]))
    assert text == (
        "Compose(\n    ToTensor()\n    Normalize(mean=[0.5], std=[0.25])\n"
        "    RandomCrop(size=(8, 8), padding=(1, 1, 1, 1))\n)"
    )


def test_the_seed_decides():
    augment = T.Compose([T.RandomCrop(4, 2), T.RandomAffine(20), T.RandomErasing()])
    image = counting(1, 4, 4)

    def draws(seed):
        dlgrad.manual_seed(seed)
        return [augment(image).tolist() for _ in range(5)]

    first = draws(1)
    assert len({str(one) for one in first}) > 1
    assert draws(1) == first != draws(2)
    assert pickle.loads(pickle.dumps(augment))(image).shape == image.shape


class Augmented(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return T.RandomCrop(2)(counting(1, 5, 5))


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_in_workers_the_seed_decides_too(kind):
    def draws(seed):
        dlgrad.manual_seed(seed)
        loader = DataLoader(Augmented(), 2, num_workers=2, worker_type=kind)
        return [batch.tolist() for batch in loader]

    assert draws(1) == draws(1) != draws(2)
