"""moebox: run, serve and train sparse mixture-of-experts language models on your own hardware.

    >>> import moebox
    >>> engine = moebox.Engine("smollm2-135m-instruct")
    >>> print(engine.generate("Why is the sky blue?", max_tokens=40).text)

- `moebox.Engine`: a model that answers, with the same numbers as the program `moebox`.
- `moebox.Tokenizer`, `moebox.tokenizer.train`: text to ids and back; a tokenizer of one's own.
- `moebox.data`: data sets for training, built and read.
- `moebox.trainer.DistributedTrainer`: a model trained by the program `moebox-train`.

All errors are `moebox.Error`.
"""

from moebox import _native
from moebox import data as data
from moebox import tokenizer as tokenizer
from moebox.engine import Answer, Chat, Engine, Piece, Stream
from moebox.errors import Error
from moebox.tokenizer import Tokenizer

__version__: str = _native.version()
__all__ = ["Answer", "Chat", "Engine", "Error", "Piece", "Stream", "Tokenizer", "__version__", "data", "tokenizer"]
