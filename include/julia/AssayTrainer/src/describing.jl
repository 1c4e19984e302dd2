# What a saved model is, for who must compare it with what it should be. Nothing here trusts the model: what is
# not one of the blueprint's layers is named for what it is, so that no comparison with a blueprint holds.

"""
    open_model(path) -> Chain

Read a saved model. **This runs whatever the file says**: only for files whose signature has been checked, in a
process that may come to harm. Throws an `ArgumentError` for anything but a `Chain`.
"""
function open_model(path::AbstractString)
    model = open(deserialize, path)
    model isa Chain || throw(ArgumentError("the file holds a $(typeof(model)), not a Flux Chain"))
    return model
end

"""
    describe_model(model) -> Vector{Dict{String,Any}}

Each layer's `type` and what the layer itself knows of its sizes and settings, in the words of the blueprint and
sizes as at the border: `in`, `out`, `dtype`, `bias`, `activation` and so on. A skip has `layers` of its own.
"""
describe_model(model::Chain) = Dict{String,Any}[describe(layer) for layer in layers_in(model)]

# A vector of anything: code for each network's own tuple of layers would be compiled anew for every network.
layers_in(chain::Chain) = chain.layers isa Tuple ? Any[chain.layers...] : Any[chain.layers]

entry(kind::AbstractString, pairs::Pair...) = Dict{String,Any}("type" => kind, pairs...)
dtype_of(array) = array isa Array ? lowercase(string(eltype(array))) : string(typeof(array))
dtype_of(arrays...) = join(sort!(unique(map(dtype_of, arrays))), " and ")

"""
The contract's name of an activation; of a function that is none of them, the function's own, which no contract
has.
"""
function name_of(σ)
    for (name, known) in ACTIVATIONS
        known === σ && return name
    end
    return "unlisted: $σ"
end

describe(layer) = entry("unlisted: $(typeof(layer))")

describe(layer::Flux.Dense) = entry(
    "dense",
    "in" => size(layer.weight, 2),
    "out" => size(layer.weight, 1),
    "activation" => name_of(layer.σ),
    "bias" => layer.bias !== false,
    "dtype" => layer.bias === false ? dtype_of(layer.weight) : dtype_of(layer.weight, layer.bias),
)

describe(layer::CategoryEmbedding) = entry(
    "embedding",
    "in" => length(layer.features) + length(layer.rest),
    "dim" => size(first(layer.tables).weight, 1),
    "columns" => Dict{String,Any}[
        Dict{String,Any}("feature" => feature - 1, "vocabulary" => size(table.weight, 2)) for
        (feature, table) in zip(layer.features, layer.tables)
    ],
    "rest" => layer.rest .- 1,
    "dtype" => dtype_of((table.weight for table in layer.tables)...),
)

describe(::Unflatten) = entry("unflatten")
describe(::Flatten) = entry("flatten")

function describe(layer::Flux.BatchNorm)
    layer.affine && layer.track_stats && layer.active === false ||
        return entry("unlisted: a batch normalisation that learns")
    return entry(
        "batch_norm",
        "channels" => layer.chs,
        "momentum" => Float64(layer.momentum),
        "epsilon" => Float64(layer.ϵ),
        "activation" => name_of(layer.λ),
        "dtype" => dtype_of(layer.γ, layer.β, layer.μ, layer.σ²),
    )
end

function describe(layer::Flux.LayerNorm)
    layer.diag isa Flux.Scale && layer.diag.σ === layer.λ && length(layer.size) == 1 ||
        return entry("unlisted: a layer normalisation of another kind")
    return entry(
        "layer_norm",
        "size" => only(layer.size),
        "epsilon" => Float64(layer.ϵ),
        "activation" => name_of(layer.λ),
        "dtype" => dtype_of(layer.diag.scale, layer.diag.bias),
    )
end

function describe(layer::Flux.Dropout)
    layer.active === false && layer.dims isa Colon || return entry("unlisted: a dropout that is not at rest")
    return entry("dropout", "rate" => Float64(layer.p))
end

function describe(layer::Flux.Conv)
    layer.groups == 1 && all(==(1), layer.dilation) && ndims(layer.weight) == 3 && allequal(layer.pad) ||
        return entry("unlisted: a convolution of another kind")
    return entry(
        "conv",
        "channels" => size(layer.weight, 2),
        "out" => size(layer.weight, 3),
        "kernel" => size(layer.weight, 1),
        "stride" => only(layer.stride),
        "padding" => first(layer.pad),
        "activation" => name_of(layer.σ),
        "bias" => layer.bias !== false,
        "dtype" => layer.bias === false ? dtype_of(layer.weight) : dtype_of(layer.weight, layer.bias),
    )
end

function describe(layer::Flux.MaxPool)
    length(layer.k) == 1 && all(==(0), layer.pad) || return entry("unlisted: a pooling of another kind")
    return entry("max_pool", "window" => only(layer.k), "stride" => only(layer.stride))
end

function describe(layer::Flux.SkipConnection)
    known = layer.connection === add ? "add" : layer.connection === concat ? "concat" : nothing
    connection = something(known, "unlisted: $(layer.connection)")
    inner = layer.layers isa Chain ? describe_model(layer.layers) : Dict{String,Any}[describe(layer.layers)]
    return entry("skip", "connection" => connection, "layers" => inner)
end

"""
    model_arrays(model) -> Vector{Tuple{String,Vector{Int},Vector}}

Name, shape and numbers of each array as at the border, such as `("layers.0.weight", [out, in], ...)`. Layers that
are not the blueprint's have none.
"""
model_arrays(model::Chain) = arrays_of(model, "layers.")

function arrays_of(chain::Chain, prefix::AbstractString)
    found = Tuple{String,Vector{Int},Vector}[]
    for (number, layer) in enumerate(layers_in(chain))
        place = "$prefix$(number - 1)."
        if layer isa Flux.SkipConnection
            layer.layers isa Chain && append!(found, arrays_of(layer.layers, "$(place)layers."))
        else
            for (name, shape, numbers) in border_arrays(layer)
                push!(found, (place * name, Int[shape...], Vector(numbers)))
            end
        end
    end
    return found
end

plain(name, numbers) = (name, size(numbers), numbers)
with_bias(layer, weight) = layer.bias === false ? (weight,) : (weight, plain("bias", layer.bias))

border_arrays(layer) = ()
border_arrays(layer::Flux.Dense) = with_bias(layer, ("weight", size(layer.weight), vec(permutedims(layer.weight))))
border_arrays(layer::Flux.Conv) =
    with_bias(layer, ("weight", reverse(size(layer.weight)), vec(reverse(layer.weight; dims = 1))))
border_arrays(layer::CategoryEmbedding) =
    (("table.$(k - 1)", reverse(size(table.weight)), vec(table.weight)) for (k, table) in enumerate(layer.tables))
border_arrays(layer::Flux.BatchNorm) =
    (plain("scale", layer.γ), plain("bias", layer.β), plain("mean", layer.μ), plain("variance", layer.σ²))
border_arrays(layer::Flux.LayerNorm) =
    layer.diag isa Flux.Scale ? (plain("scale", layer.diag.scale), plain("bias", layer.diag.bias)) : ()

"""
    output_size(model, features) -> Int

How many numbers the model gives for a row of so many zeros.
"""
output_size(model::Chain, features::Integer) = size(through(model, zeros(Float32, Int(features), 1)), 1)

through(model::Chain, x::AbstractMatrix) = foldl((value, layer) -> layer(value), layers_in(model); init = x)

"""
    apply_model!(output, model, x)

Fill `output` (outputs, rows) with what the model makes of `x` (features, rows), in the output's dtype.
"""
function apply_model!(output::AbstractMatrix{T}, model::Chain, x::AbstractMatrix) where {T}
    made = through(model, Matrix{T}(x))
    size(made) == size(output) ||
        throw(DimensionMismatch("the model gives $(size(made)) numbers where $(size(output)) are expected"))
    output .= made
    return nothing
end
