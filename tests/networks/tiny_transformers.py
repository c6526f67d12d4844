"""Tiny networks of transformers with random weights, made from configs and saved with all that belongs to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

VOCABULARY = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the", "a", "dog", "cat", "runs", "sleeps", "over", "red", "blue"]
VOCABULARY += ["black", "dark", "grey", "light", "white", "rests", "drifts", "moves", "jumps", "flickers"]
_BODY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
_PICTURE: dict[str, Any] = {**_BODY, "image_size": 16, "patch_size": 4}
_TEXT: dict[str, Any] = {**_BODY, "vocab_size": 32, "max_position_embeddings": 64, "pad_token_id": 0}
_CAUSAL: dict[str, Any] = {**_TEXT, "num_key_value_heads": 1, "head_dim": 8}
_WAVES: dict[str, Any] = {
    **_BODY,
    "conv_dim": [8, 8],
    "conv_kernel": [160, 4],
    "conv_stride": [80, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
_IMAGE_PROCESSOR = ("ViTImageProcessor", {"size": {"height": 16, "width": 16}})
_VIDEO_PROCESSOR = (
    "VideoMAEImageProcessor",
    {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}},
)
_WAVE_EXTRACTOR = ("Wav2Vec2FeatureExtractor", {})


@dataclass(frozen=True)
class Tiny:
    """What a tiny network is made of: model type, config, what it takes, processor, and facts that tests know of it."""

    kind: str
    config: dict[str, Any]
    takes: str
    processor: tuple[str, dict[str, Any]] | None = None
    special: int = 0
    time: int = 0
    part: str = ""
    options: dict[str, Any] = field(default_factory=dict)


TINY: dict[str, Tiny] = {
    "vit": Tiny("vit", _PICTURE, "frames", _IMAGE_PROCESSOR, special=1),
    "deit": Tiny("deit", _PICTURE, "frames", _IMAGE_PROCESSOR, special=2),
    "beit": Tiny("beit", _PICTURE, "frames", _IMAGE_PROCESSOR, special=1),
    "dinov2": Tiny("dinov2", _PICTURE, "frames", _IMAGE_PROCESSOR, special=1),
    "dinov2_registers": Tiny(
        "dinov2_with_registers", {**_PICTURE, "num_register_tokens": 2}, "frames", _IMAGE_PROCESSOR, special=3
    ),
    "dinov3": Tiny("dinov3_vit", {**_PICTURE, "num_register_tokens": 2}, "frames", _IMAGE_PROCESSOR, special=3),
    "ijepa": Tiny("ijepa", _PICTURE, "frames", _IMAGE_PROCESSOR),
    "clip_image": Tiny(
        "clip", {"text_config": _TEXT, "vision_config": _PICTURE}, "frames", _IMAGE_PROCESSOR, 1, part="vision_model"
    ),
    "siglip2_image": Tiny(
        "siglip2",
        {"text_config": _TEXT, "vision_config": {**_BODY, "patch_size": 4, "num_patches": 16}},
        "frames",
        ("Siglip2ImageProcessor", {"patch_size": 4, "max_num_patches": 16}),
        part="vision_model",
    ),
    "videomae": Tiny("videomae", {**_PICTURE, "num_frames": 4, "tubelet_size": 2}, "clip", _VIDEO_PROCESSOR, time=2),
    "vivit": Tiny(
        "vivit",
        {**_PICTURE, "num_frames": 4, "tubelet_size": [2, 4, 4]},
        "clip",
        ("VivitImageProcessor", _VIDEO_PROCESSOR[1]),
        special=1,
        time=2,
    ),
    "timesformer": Tiny("timesformer", {**_PICTURE, "num_frames": 4}, "clip", _VIDEO_PROCESSOR, special=1, time=4),
    "vjepa2": Tiny(
        "vjepa2",
        {
            "crop_size": 16,
            "patch_size": 4,
            "frames_per_clip": 4,
            "tubelet_size": 2,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "mlp_ratio": 1,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
        "clip",
        ("VJEPA2VideoProcessor", _VIDEO_PROCESSOR[1]),
        time=2,
    ),
    "wav2vec2": Tiny("wav2vec2", _WAVES, "sound", _WAVE_EXTRACTOR),
    "hubert": Tiny("hubert", _WAVES, "sound", _WAVE_EXTRACTOR),
    "wavlm": Tiny("wavlm", _WAVES, "sound", _WAVE_EXTRACTOR),
    "w2v_bert2": Tiny(
        "wav2vec2-bert",
        {**_BODY, "feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 3},
        "sound",
        ("SeamlessM4TFeatureExtractor", {}),
    ),
    "whisper": Tiny(
        "whisper",
        {
            "d_model": 16,
            "encoder_layers": 3,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "vocab_size": 32,
            "max_source_positions": 100,
            "max_target_positions": 10,
            "num_mel_bins": 16,
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
        },
        "sound",
        ("WhisperFeatureExtractor", {"feature_size": 16, "chunk_length": 2}),
        part="encoder",
    ),
    "ast": Tiny(
        "audio-spectrogram-transformer",
        {
            **_BODY,
            "max_length": 128,
            "num_mel_bins": 32,
            "patch_size": 8,
            "frequency_stride": 6,
            "time_stride": 6,
        },
        "sound",
        ("ASTFeatureExtractor", {"max_length": 128, "num_mel_bins": 32}),
        special=2,
    ),
    "clip_text": Tiny(
        "clip",
        {"text_config": _TEXT, "vision_config": _PICTURE},
        "text",
        part="text_model",
        options={"takes": "text"},
    ),
    "siglip2_text": Tiny(
        "siglip2",
        {"text_config": _TEXT, "vision_config": {**_BODY, "patch_size": 4, "num_patches": 16}},
        "text",
        part="text_model",
        options={"takes": "text"},
    ),
    "bert": Tiny("bert", _TEXT, "text"),
    "roberta": Tiny("roberta", {**_TEXT, "max_position_embeddings": 66}, "text"),
    "modernbert": Tiny("modernbert", {**_TEXT, "global_attn_every_n_layers": 2}, "text"),
    "t5": Tiny(
        "t5",
        {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2, "vocab_size": 32, "pad_token_id": 0},
        "text",
        part="encoder",
    ),
    "gpt2": Tiny("gpt2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 32, "n_positions": 64}, "text"),
    "llama": Tiny("llama", _CAUSAL, "text"),
    "qwen3": Tiny("qwen3", _CAUSAL, "text"),
    "gemma3": Tiny("gemma3_text", _CAUSAL, "text"),
}


def write_tiny(name: str, folder: Path) -> Path:
    """Save a tiny network with its processor or tokenizer; weights are drawn from a seed, larger than usual."""
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    tiny, path = TINY[name], folder / name
    config = transformers.AutoConfig.for_model(tiny.kind, **tiny.config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:  # so that every layer does something
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    if tiny.processor is not None:
        kind, options = tiny.processor
        getattr(transformers, kind)(**options).save_pretrained(path)
    if tiny.takes == "text":
        write_tokenizer(path)
    return path


def write_tokenizer(path: Path) -> None:
    """Save a tokenizer of whole words, in lower case, that puts [CLS] before and [SEP] after a text."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=60,
    ).save_pretrained(path)
