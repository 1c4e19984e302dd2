# Layer types that Flux does not have. A saved model has them in its chain, so reading it needs this package.

"""
    CategoryEmbedding(tables, features, rest)

Replaces category numbers among the features, counted from zero, by learnt vectors: the vectors of all embedded
features first, then the other features, both in their order. `tables` are `Flux.Embedding`s, `features` and
`rest` places from one.
"""
struct CategoryEmbedding{E<:Flux.Embedding}
    tables::Vector{E}
    features::Vector{Int}
    rest::Vector{Int}
end

Flux.@layer CategoryEmbedding trainable = (tables,)

"""Rows of each table, counted from one, that a batch looks up."""
category(x::AbstractMatrix, feature::Int) = Int.(x[feature, :]) .+ 1

(layer::CategoryEmbedding)(x::AbstractMatrix) = vcat(
    (table(category(x, feature)) for (table, feature) in zip(layer.tables, layer.features))...,
    x[layer.rest, :],
)

"""
    Unflatten()

A row of features as one channel of neighbours: (features, rows) to (width, 1, rows).
"""
struct Unflatten end

(::Unflatten)(x::AbstractMatrix) = reshape(x, size(x, 1), 1, size(x, 2))

"""
    Flatten()

Channels behind each other: (width, channels, rows) to (width × channels, rows).
"""
struct Flatten end

(::Flatten)(x::AbstractArray{<:Any,3}) = reshape(x, :, size(x, 3))

"""
    add(output, input)

Connection of a skip: their sum.
"""
add(output, input) = output .+ input

"""
    concat(output, input)

Connection of a skip: the input behind the output, by feature or by channel.
"""
concat(output::AbstractMatrix, input::AbstractMatrix) = vcat(output, input)
concat(output::AbstractArray{<:Any,3}, input::AbstractArray{<:Any,3}) = cat(output, input; dims = Val(2))
