"""Weights from the tensor table, and their split over devices."""

import gguf
import pytest

from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.placement import CPU, assign_layers
from warmset.core.footprint.weights import TYPE_SIZES, read_tensors, tensor_bytes
from warmset.core.model import Tensor
from warmset.core.units import GIB, MIB
from warmset.errors import FactsError

BLOCKS, EMBEDDING, VOCABULARY = 4, 1024, 32000
FACTS = {
    "general.architecture": "llama",
    "block_count": BLOCKS,
    "embedding_length": EMBEDDING,
    "feed_forward_length": 4096,
    "attention.head_count": 8,
    "attention.head_count_kv": 8,
    "vocab_size": VOCABULARY,
}
MATRIX = EMBEDDING * VOCABULARY * 34 // 32
BLOCK = EMBEDDING * 4096 * 34 // 32


def table(*, tied=False, projector=False):
    tensors = [
        Tensor(name="token_embd.weight", type="Q8_0", shape=(EMBEDDING, VOCABULARY)),
        Tensor(name="output_norm.weight", type="F32", shape=(EMBEDDING,)),
    ]
    if not tied:
        tensors.append(Tensor(name="output.weight", type="Q8_0", shape=(EMBEDDING, VOCABULARY)))
    if projector:
        tensors.append(Tensor(name="v.blk.0.attn_q.weight", type="F16", shape=(1024, 1024)))
    tensors += [
        Tensor(name=f"blk.{i}.ffn_up.weight", type="Q8_0", shape=(EMBEDDING, 4096))
        for i in range(BLOCKS)
    ]
    return tuple(tensors)


def estimate(**options):
    options = {"num_ctx": 4096, "engine": "llama.cpp-b10448", "batch": 512} | options
    return estimate_footprint(FACTS, **options)


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [
        ("F32", (10,), 64),
        ("F16", (4096, 2), 16384),
        ("Q4_K", (256,), 160),
        ("Q8_0", (32, 32), 1088),
        ("MXFP4", (32, 64), 1088),
        ("q6_k", (256, 32), 6720),
    ],
)
def test_a_tensor_counts_whole_blocks_and_padding(kind, shape, size):
    """Elements over block size times block bytes, rounded up to 32."""
    assert tensor_bytes(Tensor(name="t", type=kind, shape=shape)) == size


@pytest.mark.parametrize(
    ("kind", "shape"), [("Q9_Z", (32,)), ("F16", (-1,)), ("F16", (1 << 40, 1 << 40))]
)
def test_an_impossible_tensor_is_refused(kind, shape):
    """Unknown types, negative and monstrous shapes raise and name the tensor."""
    with pytest.raises(FactsError, match="odd"):
        tensor_bytes(Tensor(name="odd", type=kind, shape=shape))


def test_an_impossible_block_number_is_refused():
    """A name such as `blk.99999.x` must not allocate a list of that length."""
    with pytest.raises(FactsError, match="block number"):
        read_tensors((Tensor(name="blk.99999.x", type="F32", shape=(1,)),))


def test_the_input_table_stays_in_ram():
    """With separate output weights the GPU gets everything but the embedding."""
    footprint = estimate(tensors=table())
    assert footprint.weights_ram_bytes == MATRIX
    assert footprint.weights_vram_bytes == BLOCKS * BLOCK + MATRIX + 4 * EMBEDDING


def test_tensors_of_no_block_go_with_the_output():
    """Rope frequencies and the like sit where the output matrix does."""
    rope = Tensor(name="rope_freqs.weight", type="F32", shape=(64,))
    plain, more = estimate(tensors=table()), estimate(tensors=(*table(), rope))
    assert more.weights_vram_bytes - plain.weights_vram_bytes == 256


def test_a_tied_embedding_is_held_twice():
    """Without output weights the GPU gets a copy of the table that RAM keeps."""
    footprint = estimate(tensors=table(tied=True))
    assert footprint.weights_ram_bytes == MATRIX
    assert footprint.weights_vram_bytes == BLOCKS * BLOCK + MATRIX + 4 * EMBEDDING
    assert footprint.ollama_forecast_bytes < estimate(tensors=table()).ollama_forecast_bytes


def test_in_ram_a_tied_table_is_held_once():
    """No GPU, no copy: RAM holds the file."""
    footprint = estimate(tensors=table(tied=True), gpus=0)
    assert footprint.weights_ram_bytes == BLOCKS * BLOCK + MATRIX + 4 * EMBEDDING
    assert footprint.vram_bytes == 0
    assert footprint.devices == ()


def test_a_projector_inside_the_file_goes_to_the_first_gpu():
    """Vision tensors are weights of the first GPU, and its bound grows by their graph."""
    plain, seeing = estimate(tensors=table()), estimate(tensors=table(projector=True))
    assert seeing.weights_vram_bytes - plain.weights_vram_bytes == 2 * MIB
    assert seeing.vram_upper_bytes - plain.vram_upper_bytes == 2 * MIB + GIB


def test_an_unknown_projector_widens_the_bound_and_is_noted():
    """A projector of unknown size adds its graph to the bound and a line to the unknowns."""
    footprint = estimate(tensors=table(), projector_bytes=None)
    assert any("projector_bytes" in note for note in footprint.unknowns)
    assert footprint.vram_upper_bytes == estimate(tensors=table()).vram_upper_bytes + GIB


def test_adapters_add_their_bytes():
    """A LoRA file is loaded whole."""
    more = estimate(tensors=table(), adapter_bytes=50 * MIB)
    assert more.vram_bytes - estimate(tensors=table()).vram_bytes == 50 * MIB


def test_gpus_take_the_last_layers_and_the_output_first():
    """Two of five entries: the output matrix and the last block; caches follow their layers."""
    footprint = estimate(tensors=table(), gpu_layers=2)
    assert footprint.gpu_layers == 2
    assert footprint.weights_vram_bytes == BLOCK + MATRIX + 4 * EMBEDDING
    assert footprint.devices[0].kv_bytes == footprint.kv_bytes // BLOCKS
    assert not footprint.is_fully_on_gpu


def test_partial_offload_stages_the_largest_matrix():
    """Prefill copies weights over, so the compute buffer has room for one."""
    part, full = estimate(tensors=table(), gpu_layers=2), estimate(tensors=table())
    assert part.compute_bytes - full.compute_bytes == BLOCK


def test_llama_cpp_touches_the_gpu_without_layers_and_ollama_does_not():
    """A 13B with no layer on the GPU still reserved its output matrix there."""
    idle = estimate(tensors=table(), gpu_layers=0)
    assert len(idle.devices) == 1
    assert idle.devices[0].compute_bytes >= MATRIX
    assert estimate(tensors=table(), gpu_layers=0, engine="ollama-0.33").devices == ()


def test_layers_are_shared_out_by_free_memory():
    """A GPU with three times the room takes three times the layers; the output goes last."""
    devices = assign_layers(7, 8, (3.0, 1.0))
    assert devices == (0, 0, 0, 0, 0, 0, 1, 1)
    assert assign_layers(3, 2, (1.0,)) == (CPU, CPU, 0, 0)
    assert assign_layers(3, 9, ()) == (CPU,) * 4
    assert set(assign_layers(3, 4, (0.0, 0.0))) <= {0, 1}


def test_a_model_that_does_not_fit_loses_layers_until_the_margin_is_kept():
    """With free bytes given, layers come off until a GiB stays free."""
    weights = estimate(tensors=table()).devices[0]
    need = weights.weights_bytes + weights.kv_bytes + weights.compute_bytes
    roomy = estimate(tensors=table(), device_free_bytes=need + GIB)
    tight = estimate(tensors=table(), device_free_bytes=need + GIB - 1)
    assert roomy.is_fully_on_gpu
    assert 0 < tight.gpu_layers < tight.layer_count


def test_given_sums_are_taken_as_they_are():
    """Where only sums are known they replace the table."""
    footprint = estimate(weights_gpu_bytes=3 * GIB, weights_cpu_bytes=MATRIX)
    assert footprint.weights_vram_bytes == 3 * GIB
    assert footprint.weights_ram_bytes == MATRIX
    assert footprint.is_fully_on_gpu


def test_sums_that_show_a_partial_offload_are_read_so():
    """More RAM than an input table can fill means layers stayed there, and it is noted."""
    footprint = estimate(weights_gpu_bytes=2 * GIB, weights_cpu_bytes=2 * GIB)
    assert 0 < footprint.gpu_layers < footprint.layer_count
    assert any("gpu_layers" in note for note in footprint.unknowns)


def test_a_file_size_alone_is_an_upper_guess_with_no_ram_sum():
    """Whether the table is tied is not known, so the GPU is charged with the whole file."""
    footprint = estimate(file_bytes=GIB)
    assert footprint.weights_vram_bytes == GIB
    assert footprint.ram_bytes is None
    assert footprint.grounds == "file size and facts"


def test_unknown_weights_leave_the_sums_unknown():
    """Without any weights the cache is still exact and the total is `None`, with the reason."""
    footprint = estimate()
    assert footprint.vram_bytes is None
    assert footprint.vram_upper_bytes is None
    assert footprint.ollama_forecast_bytes is None
    assert footprint.kv_bytes > 0
    assert any(note.startswith("weights") for note in footprint.unknowns)


def test_a_file_size_alone_is_shared_evenly_where_it_does_not_fit():
    """Without a table every layer weighs the same, and the rest of the file stays in RAM."""
    footprint = estimate(file_bytes=5 * GIB, gpu_layers=3)
    assert footprint.weights_vram_bytes == 3 * GIB
    assert footprint.weights_ram_bytes == 2 * GIB
    assert estimate(file_bytes=GIB, gpus=0).weights_ram_bytes == GIB


def test_weights_in_ram_alone_do_not_say_what_is_on_the_gpu():
    """With only the RAM's share known the GPU's stays unknown, unless no GPU is used."""
    assert estimate(weights_cpu_bytes=GIB, gpu_layers=2).vram_bytes is None
    assert estimate(weights_cpu_bytes=GIB, gpus=0).ram_bytes > GIB


def test_a_table_read_once_can_be_given_again():
    """Who asks often reads the table once."""
    read = read_tensors(table())
    assert estimate(tensors=read) == estimate(tensors=table())


def test_an_unknown_adapter_is_noted():
    """An adapter of unknown size is a line among the unknowns."""
    notes = estimate(tensors=table(), adapter_bytes=None).unknowns
    assert any("adapter_bytes" in note for note in notes)


def test_a_pool_without_weights_is_unknown():
    """No weights, no sum over the pool."""
    assert estimate(integrated=True).pool_bytes is None


def test_free_memory_is_given_for_all_gpus_or_for_each():
    """One number counts for every GPU; a list must have one for each."""
    same = estimate(tensors=table(), gpus=2, device_free_bytes=8 * GIB)
    assert same == estimate(tensors=table(), gpus=2, device_free_bytes=[8 * GIB] * 2)
    lopsided = estimate(tensors=table(), gpus=2, device_free_bytes=(24 * GIB, 8 * GIB))
    assert lopsided.devices[0].layers > lopsided.devices[1].layers


def test_a_tied_table_stays_in_ram_once_when_the_output_does():
    """The copy exists only where the output matrix sits on a GPU."""
    with_output = estimate(tensors=table(tied=True), gpu_layers=1)
    assert with_output.weights_ram_bytes == BLOCKS * BLOCK + MATRIX
    assert with_output.weights_vram_bytes == MATRIX + 4 * EMBEDDING


def test_the_rows_of_the_embedding_are_the_vocabulary():
    """Outputs are computed for the padded table, whatever the tokenizer counts."""
    bare = {k: v for k, v in FACTS.items() if k != "vocab_size"}
    old = {"num_ctx": 4096, "engine": "llama.cpp-b8211"}
    read = estimate_footprint(bare, tensors=table(), **old)
    assert read.compute_bytes == estimate_footprint(FACTS, tensors=table(), **old).compute_bytes
    assert not any("vocab_size" in note for note in read.unknowns)


def test_block_sizes_are_those_of_the_reference_package():
    """Every type that it knows, but Q8_1, which no file has and of which it keeps the old form."""
    for kind, size in gguf.GGML_QUANT_SIZES.items():
        assert kind.name == "Q8_1" or TYPE_SIZES[kind.name] == size, kind
