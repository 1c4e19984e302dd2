"""
    save_model(trainer, path)

Write the network to a file with Julia's Serialization: a Flux `Chain` of `Dense` layers with plain arrays, on the CPU.

The file can only be read by a Julia with Flux. Reading such a file can run code: who reads it checks its signature first.
"""
function save_model(trainer::Trainer, path::AbstractString)
    layers = map(eachindex(trainer.model.layers)) do number
        bias = layer_bias(trainer, number)
        Dense(layer_weight(trainer, number), isnothing(bias) ? false : bias, trainer.model.layers[number].σ)
    end
    open(io -> serialize(io, Chain(layers...)), path, "w")
    return nothing
end
