"""
    Blueprint(dtype)

A network to be built, layer by layer, in `"float32"` or `"float64"`. Weights are checked as they come and copied.
"""
struct Blueprint{T<:AbstractFloat}
    layers::Vector{Dense}
end

function Blueprint(dtype::AbstractString)
    dtype == "float32" && return Blueprint{Float32}(Dense[])
    dtype == "float64" && return Blueprint{Float64}(Dense[])
    throw(ArgumentError("the dtype \"$dtype\" is not known; there are float32 and float64"))
end

"""
    dense!(blueprint, weight, bias, activation)

Add a dense layer: `activation.(weight * x .+ bias)`, weight (out, in), bias (out) or `nothing`.

Throws a `DimensionMismatch` where the layer does not fit the one before it or the bias does not fit the weight, and an
`ArgumentError` for numbers that are not finite or an activation that is not allowed.
"""
function dense!(
    blueprint::Blueprint{T},
    weight::AbstractMatrix,
    bias::Union{AbstractVector,Nothing},
    activation_name::AbstractString,
) where {T}
    σ = activation(activation_name)
    number = length(blueprint.layers) + 1
    if !isempty(blueprint.layers)
        width = size(last(blueprint.layers).weight, 1)
        size(weight, 2) == width ||
            throw(DimensionMismatch("layer $number takes $(size(weight, 2)) inputs, but gets $width"))
    end
    if !isnothing(bias) && length(bias) != size(weight, 1)
        throw(DimensionMismatch("layer $number has $(size(weight, 1)) outputs, but a bias of $(length(bias))"))
    end
    all(isfinite, weight) && (isnothing(bias) || all(isfinite, bias)) ||
        throw(ArgumentError("the first weights of layer $number are not all finite"))
    push!(blueprint.layers, Dense(Matrix{T}(weight), isnothing(bias) ? false : Vector{T}(bias), σ))
    return blueprint
end
