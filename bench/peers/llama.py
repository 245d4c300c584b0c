"""llama.cpp by the low-level interface of llama-cpp-python: token ids in, logits out. For golden data and for the benchmark.

Context as stated in everything that uses it: CPU only, f16 keys and values, no flash attention
unless asked for.
"""
import ctypes

import llama_cpp
import numpy

VERSION = "0.3.36"
_quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)


class LlamaCpp:
    def __init__(self, path, n_threads, n_context=512, n_sequences=1, n_batch=512, flash_attention=False,
                 map_only=False):
        """`map_only`: weights stay where they are mapped; else llama.cpp copies some types into a layout of its own, which takes memory."""
        assert llama_cpp.__version__ == VERSION, llama_cpp.__version__
        llama_cpp.llama_log_set(_quiet, None)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.use_extra_bufts = not map_only
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, path
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.open_context(n_threads, n_context, n_sequences, n_batch, flash_attention)

    def open_context(self, n_threads, n_context, n_sequences=1, n_batch=512, flash_attention=False, kv_type=llama_cpp.GGML_TYPE_F16):
        """`n_context` tokens for each of `n_sequences`; what was open is closed."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_context * n_sequences
        params.n_seq_max = n_sequences
        params.n_batch = params.n_ubatch = self.n_batch = n_batch
        params.n_threads = params.n_threads_batch = n_threads
        params.flash_attn_type = int(flash_attention)  # LLAMA_FLASH_ATTN_TYPE_DISABLED or _ENABLED
        params.type_k = params.type_v = kv_type
        if getattr(self, "context", None):
            self.close_context()
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        assert self.context
        self.batch = llama_cpp.llama_batch_init(n_batch, 0, 1)

    def close_context(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        self.context = None

    def close(self):
        self.close_context()
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text, special):
        """Ids of `text`, with the BOS that the model's file asks for; control tokens in it are read only when `special`."""
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        n = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, special)
        assert n >= 0, n
        return list(ids[:n])

    def add_bos(self):
        return bool(llama_cpp.llama_vocab_get_add_bos(self.vocab))

    def bos(self):
        return llama_cpp.llama_vocab_bos(self.vocab)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, tokens, positions, sequences, wanted):
        """One step over any mix of sequences. `wanted` says for each token whether its logits are kept."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, want) in enumerate(zip(tokens, positions, sequences, wanted)):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = want
        assert llama_cpp.llama_decode(self.context, batch) == 0

    def logits(self, index):
        """The logits of token `index` of the last step, as a view that the next step overwrites."""
        return numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, index), (self.vocab_size,))

    def prefill(self, tokens, logits_from=None, sequence=0):
        """All of `tokens` from position 0, keeping the logits from token `logits_from` on (default: the last). More than n_batch
        take several steps, and only the last one's logits remain. A view of the last row of logits."""
        n = len(tokens)
        kept = n - 1 if logits_from is None else logits_from
        for first in range(0, n, self.n_batch):
            places = range(first, min(first + self.n_batch, n))
            self.decode([tokens[i] for i in places], places, [sequence] * len(places), [i >= kept for i in places])
        return self.logits(len(places) - 1)


def build_info():
    return {"package": f"llama-cpp-python {VERSION}", "system": llama_cpp.llama_print_system_info().decode().strip()}
