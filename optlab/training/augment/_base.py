"""`Augmentation`: a frozen callable `(key, batch) -> batch`; `ImageAugmentation`, by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from optlab.core import Record, numerics

Batch = dict[str, Any]
ENTRIES = ("image", "label")


class Augmentation(Record):
    """Base of every augmentation. Subclasses override `apply`, and `check_batch` if they ask more.

    A call is compiled either way, so that eager and jitted results agree bit for bit. The numbers
    of an augmentation are the record's leaves: they may be traced and mapped.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> class brighten(ol.training.augment.Augmentation, name="brighten"):
      ...     def apply(self, key, batch):
      ...         light = jax.random.uniform(key, (), batch["image"].dtype)
      ...         return batch | {"image": jnp.minimum(batch["image"] + light, 1)}
      >>> brighten()(jax.random.key(0), {"image": jnp.ones((1, 2, 2, 1))})["image"].sum()
      Array(4., dtype=float32)
    """

    @property
    def random(self) -> bool:
        """Whether the key is used; if not, it may be `None`."""
        return True

    def __call__(self, key: Any, batch: Mapping[str, Any]) -> Batch:
        """Augments a batch.

        Args:
          key: a `jax.random.key`.
          batch: a dict with `image` (N, H, W, C), floating, and, where labels are used, `label`.

        Returns:
          A new dict with the same entries and dtypes (integer labels become float32 distributions
          where an augmentation mixes or smooths them).
        """
        if not isinstance(batch, Mapping) or "image" not in batch:
            found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise TypeError(
                f"{self.record_name}: a batch must be a dict with an entry 'image', got {found}."
            )
        key = self._check_key(key)
        used = {name: batch[name] for name in ENTRIES if name in batch}
        return {**batch, **_compiled(self, key, used)}

    def apply(self, key: Any, batch: Batch) -> Batch:
        """The work, under `jit`; the batch has `image` and, if it was given, `label`."""
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def check_batch(self, batch: Batch) -> None:
        """Raises for batches that make no sense, by shape and dtype."""
        image = batch["image"]
        if image.ndim != 4:
            raise ValueError(
                f"{self.record_name}: image must have shape (N, H, W, C), got {image.shape}. "
                "Add the missing axis: image[..., None] for grey images, image[None] for one image."
            )
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise TypeError(
                f"{self.record_name}: image must be floating, in [0, 1], got {image.dtype}. "
                "Bytes become that by image.astype(jnp.float32) / 255."
            )

    def run(self, key: Any, batch: Batch) -> Batch:
        """`check_batch`, then `apply`: what one augmentation calls of another."""
        self.check_batch(batch)
        return self.apply(key, batch)

    def _check_key(self, key: Any) -> Any:
        if not self.random:
            return None
        dtype = getattr(key, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
            if key.shape == ():
                return key
        elif dtype == np.uint32 and key.ndim == 1:
            return key
        raise TypeError(
            f"{self.record_name}: the first argument must be one key, got {key!r} of type "
            f"{type(key).__name__}. Make one with jax.random.key(seed)."
        )


class ImageAugmentation(Augmentation):
    """Base of augmentations that treat every image by itself. Subclasses override `transform`.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> class invert(ol.training.augment.ImageAugmentation, name="invert"):
      ...     def transform(self, key, image):
      ...         return 1 - image
      >>> invert()(jax.random.key(0), {"image": jnp.ones((1, 2, 2, 1))})["image"].sum()
      Array(0., dtype=float32)
    """

    def transform(self, key: Any, image: jax.Array) -> jax.Array:
        """The augmented image (H, W, C); in float32, or wider where the batch is."""
        raise NotImplementedError(f"{type(self).__name__} must define transform")

    def apply(self, key: Any, batch: Batch) -> Batch:
        image = batch["image"]
        wide = image.astype(numerics.compute_dtype(image.dtype))
        result = jax.vmap(self.transform)(example_keys(key, len(image)), wide)
        return {**batch, "image": result.astype(image.dtype)}


def example_keys(key: Any, count: int) -> Any:
    """A key for each position, the same whatever the size of the batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count, dtype=jnp.uint32))


@jax.jit
def _compiled(augmentation: Augmentation, key: Any, batch: Batch) -> Batch:
    # Numbers known to an outer jit would be folded into the program and round otherwise than those
    # passed in; behind a barrier they are only numbers.
    augmentation = jax.lax.optimization_barrier(augmentation)
    sharding = jax.typeof(batch["image"]).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types:
        return augmentation.run(key, batch)
    # On an Explicit mesh, where shardings are types, the axes are Auto inside. The examples of a
    # result lie where the images lay.
    lying = {name: PartitionSpec(*sharding.spec[:1]) for name in batch}
    lying["image"] = sharding.spec
    run: Any = jax.sharding.auto_axes(Augmentation.run, out_sharding=lying)
    return run(augmentation, key, batch)
