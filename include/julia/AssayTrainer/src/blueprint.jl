"""
    Blueprint(dtype)

A network to be built, layer by layer, in `"float32"` or `"float64"`. Each layer is checked against the one before it.

Between [`skip!`](@ref) and [`done!`](@ref), layers are added within the skip.
"""
struct Blueprint{T<:AbstractFloat}
    levels::Vector{Vector{Plan}}
    concats::Vector{Bool}
end

function Blueprint(dtype::AbstractString)
    dtype == "float32" && return Blueprint{Float32}([Plan[]], Bool[])
    dtype == "float64" && return Blueprint{Float64}([Plan[]], Bool[])
    throw(ArgumentError("the dtype \"$dtype\" is not known; there are float32 and float64"))
end

"""The layers of the network; an `ArgumentError` where there are none or a skip is not done."""
function layers(blueprint::Blueprint)
    length(blueprint.levels) == 1 || throw(ArgumentError("a skip is not done"))
    isempty(only(blueprint.levels)) && throw(ArgumentError("the blueprint has no layers"))
    return only(blueprint.levels)
end

"""What the next layer gets, or `nothing` before the first one."""
function given(blueprint::Blueprint)
    for level in Iterators.reverse(blueprint.levels)
        isempty(level) || return gives(last(level))
    end
    return nothing
end

function add_layer!(blueprint::Blueprint, plan::Plan)
    shape = given(blueprint)
    if !isnothing(shape) && shape != takes(plan)
        number = sum(length, blueprint.levels) + 1
        throw(DimensionMismatch("layer $number takes $(takes(plan)) inputs, but gets $shape"))
    end
    all(>(0), takes(plan)) && all(>(0), gives(plan)) ||
        throw(DimensionMismatch("a layer makes $(gives(plan)) of $(takes(plan)) inputs"))
    push!(last(blueprint.levels), plan)
    return blueprint
end

positive(value::Integer, what) = value > 0 ? Int(value) : throw(ArgumentError("$what must be positive, not $value"))

"""
    dense!(blueprint, inputs, outputs, bias, activation)

Add `activation.(weight * x .+ bias)`; at the border weight is (outputs, inputs), bias (outputs).
"""
dense!(blueprint::Blueprint, inputs::Integer, outputs::Integer, bias::Bool, σ::AbstractString) =
    add_layer!(blueprint, DensePlan(Int(inputs), Int(outputs), bias, activation(σ)))

"""
    embedding!(blueprint, inputs, dim, features, vocabularies)

Add a [`CategoryEmbedding`](@ref) of these features, counted from zero, as the first layer; at the border table k is
(vocabularies[k], dim).
"""
function embedding!(blueprint::Blueprint, inputs::Integer, dim::Integer, features, vocabularies)
    isnothing(given(blueprint)) || throw(ArgumentError("only the first layer can be an embedding"))
    places = Int[feature + 1 for feature in features]
    sizes = Int[positive(vocabulary, "a vocabulary") for vocabulary in vocabularies]
    length(places) == length(sizes) > 0 || throw(DimensionMismatch("each embedded feature needs a vocabulary"))
    issorted(places; lt = <=) && first(places) >= 1 && last(places) <= inputs ||
        throw(ArgumentError("embedded features must ascend and be among the $inputs"))
    return add_layer!(blueprint, EmbeddingPlan(Int(inputs), Int(dim), places, sizes))
end

"""
    unflatten!(blueprint, size)

Add an [`Unflatten`](@ref).
"""
unflatten!(blueprint::Blueprint, size::Integer) = add_layer!(blueprint, UnflattenPlan(Int(size)))

"""
    flatten!(blueprint, channels, width)

Add a [`Flatten`](@ref).
"""
flatten!(blueprint::Blueprint, channels::Integer, width::Integer) =
    add_layer!(blueprint, FlattenPlan(Int(width), Int(channels)))

"""
    batch_norm!(blueprint, shape, momentum, epsilon, activation)

Add a `Flux.BatchNorm`; `shape` is (features,) or (channels, width); at the border scale and bias are parameters, mean
and variance statistics.
"""
batch_norm!(blueprint::Blueprint, shape, momentum::Real, epsilon::Real, σ::AbstractString) = add_layer!(
    blueprint,
    BatchNormPlan(Tuple(reverse(Int[shape...])), Float64(momentum), Float64(epsilon), activation(σ)),
)

"""
    layer_norm!(blueprint, size, epsilon, activation)

Add a `Flux.LayerNorm` over the features; at the border scale and bias are (size).
"""
layer_norm!(blueprint::Blueprint, size::Integer, epsilon::Real, σ::AbstractString) =
    add_layer!(blueprint, LayerNormPlan(Int(size), Float64(epsilon), activation(σ)))

"""
    dropout!(blueprint, shape, rate)

Add a dropout of the inputs, with the masks of [`mask`](@ref); `shape` is (features,) or (channels, width).
"""
function dropout!(blueprint::Blueprint, shape, rate::Real)
    0 < rate < 1 || throw(ArgumentError("a dropout's rate must be between 0 and 1, not $rate"))
    return add_layer!(blueprint, DropoutPlan(Tuple(reverse(Int[shape...])), Float64(rate)))
end

"""
    conv!(blueprint, channels, width, outputs, kernel, stride, padding, bias, activation)

Add a convolution along the width; at the border weight is (outputs, channels, kernel), in the order of a
cross-correlation.
"""
conv!(
    blueprint::Blueprint,
    channels::Integer,
    width::Integer,
    outputs::Integer,
    kernel::Integer,
    stride::Integer,
    padding::Integer,
    bias::Bool,
    σ::AbstractString,
) = add_layer!(
    blueprint,
    ConvPlan(
        Int(width),
        Int(channels),
        Int(outputs),
        positive(kernel, "a kernel"),
        positive(stride, "a stride"),
        Int(padding),
        bias,
        activation(σ),
    ),
)

"""
    max_pool!(blueprint, channels, width, window, stride)

Add a `Flux.MaxPool` along the width.
"""
max_pool!(blueprint::Blueprint, channels::Integer, width::Integer, window::Integer, stride::Integer) = add_layer!(
    blueprint,
    MaxPoolPlan(Int(width), Int(channels), positive(window, "a window"), positive(stride, "a stride")),
)

"""
    skip!(blueprint, connection)

Begin layers whose output is joined with their input: `"add"` or `"concat"`. [`done!`](@ref) ends them.
"""
function skip!(blueprint::Blueprint, connection::AbstractString)
    connection in ("add", "concat") ||
        throw(ArgumentError("the connection \"$connection\" is not known; there are add and concat"))
    push!(blueprint.levels, Plan[])
    push!(blueprint.concats, connection == "concat")
    return blueprint
end

"""
    done!(blueprint)

End the innermost skip.
"""
function done!(blueprint::Blueprint)
    isempty(blueprint.concats) && throw(ArgumentError("there is no skip to be done"))
    isempty(last(blueprint.levels)) && throw(ArgumentError("a skip needs layers"))
    inner, concat = pop!(blueprint.levels), pop!(blueprint.concats)
    plan = SkipPlan(inner, concat)
    input, output = takes(plan), gives(last(inner))
    fits = concat ? input[1:end-1] == output[1:end-1] && length(input) == length(output) : input == output
    fits || throw(DimensionMismatch("a skip cannot join $output outputs with $input inputs"))
    return add_layer!(blueprint, plan)
end
