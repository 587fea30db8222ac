"""How exact each result must be: one table, so that no test chooses its own bar.

Every figure is relative to the largest value of what is compared.
"""

ONNX_OUTPUT_F32 = 5e-6
"""Output of a merged float32 ONNX model against PEFT in torch; worst seen in trials 1.4e-6."""

ONNX_EFFECT_F32 = 1e-4
"""Output minus base output, the same two, relative to the effect's own largest value."""

HALF_ERROR_RATIO = 1.5
"""Error of a merged float16 model, as a multiple of the float16 base's own error."""

DELTA_F32 = 1e-6
"""A delta weight computed in float32, against float64; by any implementation, worst seen 4.2e-7."""

OUTPUT_F32 = 5e-6
"""Output of a merged float32 checkpoint in torch against PEFT's; worst seen in trials 1.7e-6."""

EFFECT_F32 = 1e-4
"""Output minus base output, the same two, relative to the effect's own largest value."""

BRANCH_F32 = 1e-5
"""Output minus base output of a quantised layer with a branch, against x delta^T in float64."""

BRANCH_F16 = 4e-3
"""The same where sum and branch are rounded to float16: 2^-11 of outputs a few times as large."""

ONNX_EFFECT_QUANTISED = 1e-3
"""The adapter's effect on a quantised base, against torch with that graph's dequantised weights."""

SINGULAR_VALUES = 3e-7
"""Singular values from entries alone, against those of the whole matrix in float64; seen 5.5e-8.

They are roots of eigenvalues, which are exact to 2e-16, and those below 1e-7 are left out."""

SPECTRAL_F32 = 1e-6
"""Transforms, delta weights and coefficient gradients of trainers in float32.

Worst seen: PyTorch 5e-7; Keras 7.2e-7, at 8191."""

SPECTRAL_F64 = 1e-13
"""Everything of trainers in float64; worst seen 3e-15."""

TRAINED_OUTPUT_F32 = 5e-6
"""Outputs and gradients of adapted float32 layers, against float64; worst seen 1.3e-6."""

TRAINED_HALF_RATIO = 3.0
"""Error of an adapted half-precision layer over the same layer's without adapter; seen 2.2.

The output is rounded twice there: the base's, and its sum with the delta weight's."""

PEFT_SGD = 1e-5
"""Coefficients after 50 steps of SGD against PEFT's, by their norm; worst seen 1e-6."""

PEFT_ADAMW = 1e-3
"""The same under AdamW, which divides gradients by their own size: noise may count; seen 1e-6."""

PEFT_GRADIENT = 1e-5
"""The first gradient of coefficients against PEFT's; worst seen 2e-6."""

KERAS_BACKBONE_F32 = 3e-6
"""MiniLM in float32 on Keras's backends, against transformers' in float64; worst seen 1.4e-6.

With GELU's tanh form, which keras-hub's BERT has, it would be 5e-4."""

TWIN_OUTPUT_F32 = 5e-6
"""Outputs of one adapter on MiniLM in Keras and in PyTorch; worst seen 1.4e-6."""

TWIN_EFFECT_F32 = 1e-5
"""Adapted less base output, the same two, relative to the effect's own largest; seen 1.4e-6."""

KERAS_OUTPUT_F32 = 5e-6
"""Output of a merged file in Keras, against Keras with kernels summed in float64; seen 6e-7."""

KERAS_EFFECT_F32 = 1e-5
"""Output minus base output, the same two, relative to the effect's own largest; seen 1e-6."""

KERAS_KERNEL_F32 = 5e-7
"""A merged float32 kernel against the sum in float64, rounded once."""

KERAS_EXPORT_F32 = 5e-6
"""Output of a Keras model's export, merged or not, against Keras; worst seen 6.2e-7."""

KERAS_GELU_TAIL_F32 = 1e-6
"""Exact GELU of an export for negative x, against float64, by its largest value there, 0.17."""

KERAS_SERVED_EFFECT_F32 = 5e-6
"""What an adapter that Keras trained does in ONNX Runtime, against Keras; worst seen 3.4e-7."""

KERAS_STEPS_F32 = 1e-4
"""Coefficients after a few steps of SGD in Keras, in another loop or compiled; seen 5e-6."""

ATTENTION_OPENED_F32 = 5e-7
"""An Attention opened into MultiHeadAttention, against the node itself; worst seen 1.1e-7."""

LIVE_ATTENTION_F32 = 2e-6
"""The same with terms in queries, keys and values, against float64; worst seen 6.5e-7."""
LIVE_FILE_F32 = 1e-6
"""A live graph with a .onnx_adapter in ONNX Runtime, against float64; worst seen 7.5e-8."""

MERGED_AT_LOAD_F32 = 1e-6
"""Outputs of a layer or two merged at load, against float64; worst seen 2.8e-7."""
SERVED_F32 = 2e-5
"""Rows of a session against float64, by the largest output; worst seen 3e-7."""

SERVED_F16 = 5e-3
"""The same in float16, three layers and their terms rounded each; worst seen 1.1e-3."""

SERVED_ROWS_F32 = 2e-5
"""Rows of MiniLM in a batch, against each row alone on its merged model; worst seen 2.3e-6."""

SERVED_ROWS_F16 = 5e-3
"""The same of a store in float16, its effect too; worst seen 1.8e-4 and 3.9e-4."""

SERVED_ROWS_EFFECT = 1e-3
"""The same two less their base's output, by the effect's own largest value; worst 5.5e-6."""

STORED_F16 = 2.0**-11
"""A coefficient of a float16 store, relative to itself; coarser below 2**-28 of its row's top."""
THIRTY_LAYERS_F32 = 2e-5
"""Logits of all of SmolLM2 against PEFT's in float32; worst seen 1e-5.

Either is up to 6e-6 from PEFT's in float64."""

LIVE_F32 = 2e-6
"""A live layer in float32 against its base plus x delta^T in float64; worst seen 7e-7."""

LIVE_HALF_RATIO = 2.0
"""The same in half precision, over the rounding of its dtype; and a float16 model, over its base.

Both round once more, at the sum. Worst seen 1.5."""

LIVE_OUTPUT_F32 = 5e-6
"""Outputs of a live model, each row with its own adapter, against torch in float64; seen 1.1e-6."""

LIVE_EFFECT_F32 = 3e-5
"""What the adapters do there, by the largest that one does; int4 and int8 too; seen 8.5e-6."""

LIVE_MERGED_F32 = 2e-5
"""A row of such a batch against that row alone on its merged model; worst seen 1.2e-6."""

LIVE_ROUNDING_RATIO = 1.0
"""The same with activations rounded to int8, over what another batch does to the base's own rows.

Which value is rounded up and which down hangs by float32's last bits; worst seen 0.2."""

CUT = 1e-5
"""An encoder that starts at stored states, against the whole; float32, seen: 1e-6."""

MODEL_F64 = 1e-6
"""Costs that a least-squares fit finds in times that they made exactly; worst seen 1e-9."""

EXPECTED_ROWS = 0.15
"""Numbers through FFTs, counted from the expected rows in use, against those of one draw."""

SIZE_OF_DRAWN_DELTA = 0.2
"""Of a delta of 300 normal coefficients, against the expected size: four of its deviations, 5 %."""

CONTROL = 1e-5
"""A delta beside a layer of width 32 against one in its weight, float32; seen: 1e-6."""

CONTROL_HALF_RATIO = 1.5
"""A control's error under bfloat16 autocast over FourierFT's: neither is favoured."""
