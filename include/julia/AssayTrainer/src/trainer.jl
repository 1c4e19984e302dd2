"""
    Trainer(blueprint, loss; learning_rate = 0.001, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, device = "cpu")

A training in progress: the network, Adam's state, and where both live.

`loss` is `"logit_cross_entropy"` or `"mse"`; `device` is `"cpu"` or `"gpu"`.
"""
struct Trainer{T<:AbstractFloat,D<:Device,L<:Objective,M,S}
    model::M
    state::S
    loss::L
    device::D
end

function Trainer(
    blueprint::Blueprint{T},
    loss_name::AbstractString;
    learning_rate::Real = 0.001,
    beta1::Real = 0.9,
    beta2::Real = 0.999,
    epsilon::Real = 1e-8,
    device::AbstractString = "cpu",
) where {T}
    isempty(blueprint.layers) && throw(ArgumentError("the blueprint has no layers"))
    place = device_of(device)
    goal = objective(loss_name)
    model = Chain((on_device(place, layer) for layer in blueprint.layers)...)
    rule = Flux.Adam(Float64(learning_rate), (Float64(beta1), Float64(beta2)), Float64(epsilon))
    state = Flux.setup(rule, model)
    return Trainer{T,typeof(place),typeof(goal),typeof(model),typeof(state)}(model, state, goal, place)
end

on_device(place::Device, layer::Dense) =
    Dense(move(place, copy(layer.weight)), layer.bias isa AbstractVector ? move(place, copy(layer.bias)) : false, layer.σ)

"""
    layer_weight(trainer, number)

A copy of a layer's weight (out, in) in main memory; layers are counted from one.
"""
layer_weight(trainer::Trainer, number::Integer) = Array(trainer.model.layers[number].weight)

"""
    layer_bias(trainer, number)

A copy of a layer's bias (out) in main memory, or `nothing`.
"""
function layer_bias(trainer::Trainer, number::Integer)
    bias = trainer.model.layers[number].bias
    return bias isa AbstractVector ? Array(bias) : nothing
end

"""
    read_layer!(trainer, number, weight, bias)

Copy a layer's weight (out, in) and bias (out, or `nothing` for a layer without) into arrays of the caller's.
"""
function read_layer!(trainer::Trainer, number::Integer, weight::AbstractMatrix, bias::Union{AbstractVector,Nothing})
    copyto!(weight, layer_weight(trainer, number))
    isnothing(bias) || copyto!(bias, layer_bias(trainer, number))
    return nothing
end
