"""
    AssayTrainer

Trains a Flux network that a blueprint describes, update by update in an order that the caller gives, and tells how it
went. It knows nothing of files but the one that it saves, of preprocessing or of processes: its caller does.

Rows, sources and categories are counted from zero, as the data has them. Arrays cross the border flattened: all
trainable ones behind each other in the order of the layers, each in C order, see [`Trainer`](@ref).

The functions that build a blueprint are not exported, because Flux has some of their names.

```julia
using AssayTrainer
using AssayTrainer: dense!

blueprint = Blueprint("float32")
dense!(blueprint, 4, 16, true, "relu")
dense!(blueprint, 16, 3, true, "identity")
trainer = Trainer(blueprint, parameters, statistics; loss = "logit_cross_entropy", optimizer = adam())
losses = zeros(Float32, length(rows))
stats = run!(trainer, x, y, rows, offsets, rates, 0, losses)   # x (features, rows), y (rows)
seen = evaluate(trainer, x, y, validation, losses)
save_model(trainer, "model.jls")
```
"""
module AssayTrainer

using Flux: Flux, Chain, NNlib, Optimisers, Zygote
using LinearAlgebra: BLAS, norm
using PrecompileTools: @compile_workload, @setup_workload
using Serialization: deserialize, serialize

export Blueprint, Trainer, adam, adamw, evaluate, gradient_gram!, rmsprop, run!, run_private!, save_model, sgd
export trained_model

include("activations.jl")
include("devices.jl")
include("memory.jl")
include("masks.jl")
include("layers.jl")
include("plans.jl")
include("blueprint.jl")
include("losses.jl")
include("optimizers.jl")
include("nodes.jl")
include("aggregation.jl")
include("trainer.jl")
include("batches.jl")
include("training.jl")
include("private.jl")
include("evaluation.jl")
include("state.jl")
include("saving.jl")
include("describing.jl")

"""
    versions() -> Dict{String,String}

Of Julia and Flux.
"""
versions() = Dict(
    "julia" => string(VERSION),
    "flux" => string(pkgversion(Flux)),
    "assay_trainer" => string(pkgversion(@__MODULE__)),
)

"""
    set_threads!(count)

How many threads BLAS uses. With one, sums are added in one order and a run can be repeated bit for bit.
"""
set_threads!(count::Integer) = BLAS.set_num_threads(Int(count))

include("precompile.jl")

end
