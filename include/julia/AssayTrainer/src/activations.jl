# The activations that a model may use, by the names of the contract. A name that is not here is refused: a blueprint
# comes from a file, and must not be able to name any function of Julia's.
const ACTIVATIONS = Dict{String,Function}(
    "identity" => identity,
    "relu" => Flux.relu,
    "leakyrelu" => Flux.leakyrelu,
    "elu" => Flux.elu,
    "gelu" => Flux.gelu,
    "selu" => Flux.selu,
    "sigmoid" => Flux.sigmoid,
    "softplus" => Flux.softplus,
    "swish" => Flux.swish,
    "tanh" => tanh,
)

"""
    activation(name) -> Function

The activation of that name; an `ArgumentError` names the ones that there are.
"""
function activation(name::AbstractString)
    haskey(ACTIVATIONS, name) && return ACTIVATIONS[name]
    known = join(sort!(collect(keys(ACTIVATIONS))), ", ")
    throw(ArgumentError("the activation \"$name\" is not allowed; allowed are $known"))
end
