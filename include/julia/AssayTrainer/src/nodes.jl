# The network as a list of nodes. Each node is differentiated by itself, by Zygote: the code for a kind of layer is
# compiled once, when the package is, and serves every network made of such layers, which would otherwise be compiled
# anew, for many seconds, in every process that trains one.

abstract type Node end

"""What a forward pass depends on besides weights and rows."""
struct Pass
    seed::UInt64
    step::Int
end

"""A Flux layer, and where its arrays lie among the parameters."""
struct Part{L} <: Node
    layer::L
    ranges::Vector{UnitRange{Int}}
end

"""
A network's first layer. Nothing before it learns, so that the derivative with respect to its input, for which
Zygote would multiply by the transposed weight, is left out.
"""
struct Entry{D<:Flux.Dense}
    dense::D
end

(entry::Entry)(x::AbstractMatrix) =
    NNlib.bias_act!(entry.dense.σ, entry_product(entry.dense.weight, x), entry.dense.bias)

entry_product(weight, x) = weight * x
Zygote.@adjoint entry_product(weight, x) = weight * x, delta -> (delta * x', nothing)

"""An activation by itself."""
struct Activate{F} <: Node
    σ::F
end

"""Looks up the vectors of categories."""
struct Lookup{L<:CategoryEmbedding} <: Node
    layer::L
    ranges::Vector{UnitRange{Int}}
end

"""A dropout layer, by its number among all layers."""
struct Drop <: Node
    rate::Float64
    number::Int
end

"""Nodes whose output is joined with their input."""
struct Join <: Node
    nodes::Vector{Node}
    concat::Bool
end

"""A step of a forward pass, kept for the way back: the node, its input, and what leads back from its output."""
struct Stop
    node::Node
    input::Any
    back::Any
end

"""
    forward(nodes, x, pass) -> (output, stops)

Through all nodes, keeping what [`backward!`](@ref) needs.
"""
function forward(nodes::Vector{Node}, x, pass::Pass)
    stops = Stop[]
    for node in nodes
        output, back = step_forward(node, x, pass)
        push!(stops, Stop(node, x, back))
        x = output
    end
    return x, stops
end

call(layer, x) = layer(x)
activate!(σ, x) = NNlib.bias_act!(σ, x, false)

step_forward(part::Part, x, ::Pass) = Zygote.pullback(call, part.layer, x)
# May overwrite its input, which is the fresh output of a linear layer and not needed again.
step_forward(node::Activate, x, ::Pass) = Zygote.pullback(activate!, node.σ, x)

function step_forward(node::Drop, x, pass::Pass)
    kept = mask(x, mask_key(pass.seed, pass.step, node.number), node.rate)
    return x .* kept, kept
end

function step_forward(node::Lookup, x, ::Pass)
    return node.layer(x), nothing
end

function step_forward(node::Join, x, pass::Pass)
    output, stops = forward(node.nodes, x, pass)
    return node.concat ? concat(output, x) : add(output, x), stops
end

"""
    apply(nodes, x) -> output

Through all nodes of a network in test mode, keeping nothing.
"""
apply(nodes::Vector{Node}, x) = foldl((value, node) -> step(node, value), nodes; init = x)

step(part::Union{Part,Lookup}, x) = part.layer(x)
step(node::Activate, x) = activate!(node.σ, x)
step(node::Join, x) = (output = apply(node.nodes, x); node.concat ? concat(output, x) : add(output, x))

"""
    backward!(gradient, stops, delta, squares = nothing)

Write the parameters' derivatives into `gradient`, from the derivative with respect to the output; returns that with
respect to the input. A `squares` of one number per row gains each row's share in its own squared gradient norm; the
nodes must then be those of a private network.
"""
function backward!(gradient, stops::Vector{Stop}, delta, squares = nothing)
    for stop in Iterators.reverse(stops)
        isnothing(squares) || add_squares!(squares, stop.node, stop.input, delta)
        delta = step_backward!(gradient, stop.node, stop.input, stop.back, delta, squares)
    end
    return delta
end

function step_backward!(gradient, part::Part, _, back, delta, _)
    slope, before = back(delta)
    isempty(part.ranges) || store!(gradient, part.ranges, slopes(part.layer, slope))
    return before
end

step_backward!(_, ::Activate, _, back, delta, _) = last(back(delta))
step_backward!(_, ::Drop, _, kept, delta, _) = delta .* kept

function step_backward!(gradient, node::Lookup, x, _, delta, _)
    at = 0
    for (table, feature, range) in zip(node.layer.tables, node.layer.features, node.ranges)
        dim = size(table.weight, 1)
        slope = NNlib.scatter!(+, zero(table.weight), delta[at+1:at+dim, :], category(x, feature))
        copyto!(gradient, first(range), slope, 1, length(range))
        at += dim
    end
    return nothing
end

function step_backward!(gradient, node::Join, _, stops, delta, squares)
    node.concat || return add(backward!(gradient, stops, delta, squares), delta)
    axis = ndims(delta) - 1
    outputs = size(delta, axis) - size(first(stops).input, axis)
    inner = copy(selectdim(delta, axis, 1:outputs))
    passed = selectdim(delta, axis, outputs+1:size(delta, axis))
    return add(backward!(gradient, stops, inner, squares), passed)
end

"""A layer's derivatives, as Zygote gives them, in the order of its arrays."""
slopes(layer::Union{Flux.Dense,Flux.Conv}, slope) =
    layer.bias isa AbstractVector ? (slope.weight, slope.bias) : (slope.weight,)
slopes(entry::Entry, slope) = slopes(entry.dense, slope.dense)
slopes(::Flux.BatchNorm, slope) = (slope.γ, slope.β)
slopes(::Flux.LayerNorm, slope) = (slope.diag.scale, slope.diag.bias)

function store!(gradient, ranges, arrays)
    for (range, array) in zip(ranges, arrays)
        isnothing(array) ? fill!(view(gradient, range), 0) : copyto!(gradient, first(range), array, 1, length(range))
    end
    return nothing
end
