"""A tiny random llama as a GGUF file: 2 layers, 64 wide, a token per byte, a chat template.

It says nothing sensible and everything a real engine does around a model is real: templates,
sampling, grammars for tools and schemas, context limits, usage. Run by the engine's own Python.
"""

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, FEED = 2, 64, 4, 128
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}<|assistant|>"


def write(path: str, context: int) -> None:
    random = np.random.default_rng(7)
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{n:02X}>".encode() for n in range(256)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256
    # Printable ASCII also as ordinary tokens, so that grammars have something to choose from.
    for n in range(32, 127):
        tokens.append(b"\xe2\x96\x81" if n == 32 else bytes([n]))
        kinds.append(gguf.TokenType.NORMAL)

    out = gguf.GGUFWriter(path, "llama")
    out.add_name("tiny-random")
    out.add_context_length(context)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types(kinds)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_chat_template(TEMPLATE)

    def matrix(name: str, *shape: int) -> None:
        out.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    def ones(name: str) -> None:
        out.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    matrix("token_embd.weight", len(tokens), WIDTH)
    matrix("output.weight", len(tokens), WIDTH)
    ones("output_norm.weight")
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        ones(f"{at}.attn_norm.weight")
        ones(f"{at}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{at}.{part}.weight", WIDTH, WIDTH)
        matrix(f"{at}.ffn_gate.weight", FEED, WIDTH)
        matrix(f"{at}.ffn_up.weight", FEED, WIDTH)
        matrix(f"{at}.ffn_down.weight", WIDTH, FEED)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
