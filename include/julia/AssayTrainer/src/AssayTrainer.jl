"""
    AssayTrainer

Trains a Flux network that a blueprint describes, batch by batch in an order that the caller gives, and tells how it
went. It knows nothing of files but the one that it saves, of preprocessing or of processes: its caller does.

```julia
blueprint = Blueprint("float32")
dense!(blueprint, weight, bias, "relu")         # weight (out, in), bias (out) or nothing
dense!(blueprint, weight2, bias2, "identity")
trainer = Trainer(blueprint, "logit_cross_entropy"; learning_rate = 0.001)
stats = epoch!(trainer, x, y, order, 128)       # x (features, rows), y (rows), order: row numbers from one
seen = evaluate(trainer, x, y, validation)
save_model(trainer, "model.jls")
```
"""
module AssayTrainer

using Flux: Flux, Chain, Dense
using LinearAlgebra: BLAS
using PrecompileTools: @compile_workload, @setup_workload
using Serialization: serialize

export Blueprint, Trainer, dense!, epoch!, evaluate, layer_bias, layer_weight, save_model

include("activations.jl")
include("devices.jl")
include("blueprint.jl")
include("memory.jl")
include("losses.jl")
include("trainer.jl")
include("training.jl")
include("saving.jl")

"""
    versions() -> Dict{String,String}

Of Julia and Flux.
"""
versions() = Dict("julia" => string(VERSION), "flux" => string(pkgversion(Flux)))

"""
    set_threads!(count)

How many threads BLAS uses. With one, sums are added in one order and a run can be repeated bit for bit.
"""
set_threads!(count::Integer) = BLAS.set_num_threads(Int(count))

include("precompile.jl")

end
