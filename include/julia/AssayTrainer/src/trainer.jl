"""What makes updates private: rows are clipped to `max_norm`, the noise is scaled, the sum divided."""
struct Clipping
    max_norm::Float64
    noise_deviation::Float64
    expected_rows::Float64
end

"""
    Trainer(blueprint, parameters, statistics; loss, optimizer, options...)

A training in progress: the network, the optimiser's state, and where both live.

Its type names the dtype and the device only: what loss, rule and layers there are is looked up once per update,
so that the code is compiled once, when the package is. All parameters lie in one array, of which the layers'
arrays are windows, so that an update is one broadcast whatever the number of layers. `parameters` and
`statistics` are the first ones as they cross the border: the trainable arrays and the running statistics, each
behind each other in the order of the layers, in C order.

# Options
- `loss`, `huber_delta`: see [`objective`](@ref).
- `class_weights`: one per class, or `nothing`.
- `optimizer`: [`adam`](@ref), [`adamw`](@ref), [`sgd`](@ref) or [`rmsprop`](@ref).
- `aggregation`, `byzantine`: how the sources' gradients become one, see [`aggregate`](@ref).
- `clipping`: `(max_norm, noise_deviation, expected_rows)` for private updates, see [`run_private!`](@ref).
- `seed`: of dropout's masks. `device`: `"cpu"` or `"gpu"`.
"""
struct Trainer{T<:AbstractFloat,D<:Device,V<:AbstractVector{T}}
    device::D
    goal::Objective
    class_weights::Union{Nothing,Vector{Float64}}
    aggregation::Aggregation
    clipping::Union{Nothing,Clipping}
    seed::UInt64
    parameters::V
    statistics::V
    gradient::V
    order::Vector{Int}
    rule::Optimisers.Leaf
    plans::Vector{Plan}
    nodes::Vector{Node}
    testing::Vector{Node}
    outputs::Int
end

"""How a network learns, as a [`Trainer`](@ref) is told."""
struct Settings
    goal::Objective
    class_weights::Union{Nothing,Vector{Float64}}
    rule::Optimisers.AbstractRule
    aggregation::Aggregation
    clipping::Union{Nothing,Clipping}
    seed::UInt64
end

function Trainer(
    blueprint::Blueprint,
    parameters::AbstractVector,
    statistics::AbstractVector;
    loss::AbstractString,
    optimizer,
    huber_delta::Real = 1.0,
    class_weights = nothing,
    aggregation::AbstractString = "mean",
    byzantine::Integer = 0,
    clipping = nothing,
    seed::Integer = 0,
    device::AbstractString = "cpu",
)
    settings = Settings(
        objective(loss, huber_delta),
        isnothing(class_weights) ? nothing : Float64[class_weights...],
        optimizer,
        Aggregation(aggregation, byzantine),
        isnothing(clipping) ? nothing : Clipping(Float64.(clipping)...),
        seed % UInt64,
    )
    return make_trainer(blueprint, parameters, statistics, settings, device_of(device))
end

function make_trainer(blueprint::Blueprint{T}, parameters, statistics, settings::Settings, place::Device) where {T}
    plans = layers(blueprint)
    outputs = check_goal(settings, gives(last(plans)))
    isnothing(settings.clipping) || settings.aggregation.kind == :mean ||
        throw(ArgumentError("private updates cannot be aggregated by $(settings.aggregation.kind)"))
    order = border_order(plans)
    length(parameters) == length(order) ||
        throw(DimensionMismatch("the layers have $(length(order)) parameters, but $(length(parameters)) are given"))
    count = sum(prod, every(statistics_of, plans); init = 0)
    length(statistics) == count ||
        throw(DimensionMismatch("the layers have $count running statistics, but $(length(statistics)) are given"))
    all(isfinite, parameters) && all(isfinite, statistics) ||
        throw(ArgumentError("the first weights are not all finite"))
    isempty(order) && throw(ArgumentError("the network has nothing to learn"))
    inner = Vector{T}(undef, length(order))
    inner[order] = parameters
    flat, running = move(place, inner), move(place, Vector{T}(statistics))
    shop = Workshop{T}(place, flat, running)
    nodes = nodes_of(plans, shop; training = true, private = !isnothing(settings.clipping))
    testing = nodes_of(plans, shop; training = false, private = false)
    return Trainer{T,typeof(place),typeof(flat)}(
        place, settings.goal, settings.class_weights, settings.aggregation, settings.clipping, settings.seed,
        flat, running, zero(flat), order, Optimisers.setup(settings.rule, flat), plans, nodes, testing, outputs,
    )
end

"""How many numbers the network gives per row, if they are what the loss needs."""
function check_goal(settings::Settings, shape::Dims)
    (; goal, class_weights) = settings
    length(shape) == 1 || throw(DimensionMismatch("the last layer gives $shape"))
    outputs = only(shape)
    goal isa CrossEntropy || outputs == 1 || throw(DimensionMismatch("$goal needs one output, not $outputs"))
    if !isnothing(class_weights)
        goal isa Classes || throw(ArgumentError("$goal has no classes to be weighted"))
        length(class_weights) == max(outputs, 2) ||
            throw(DimensionMismatch("there are $(length(class_weights)) class weights"))
    end
    return outputs
end

statistics_of(plan::Plan) = statistics(plan)

"""All that `what` says of the layers, inner ones in their place."""
every(what, plans) = reduce(vcat, (what_of(what, plan) for plan in plans); init = Dims[])
what_of(what, plan::Plan) = what(plan)
what_of(what, plan::SkipPlan) = every(what, plan.layers)

"""For each number in the border's order, its place among the parameters as they lie in memory."""
function border_order(plans)
    at, order = 0, Int[]
    for plan in leaves(plans), (k, dims) in enumerate(arrays(plan))
        append!(order, to_border(plan, k, reshape(at+1:at+prod(dims), dims)))
        at += prod(dims)
    end
    return order
end

"""The layers that are not skips, depth first."""
leaves(plans) = reduce(vcat, (plan isa SkipPlan ? leaves(plan.layers) : Plan[plan] for plan in plans); init = Plan[])

"""Hands out the windows of parameters and statistics while a network is built."""
mutable struct Workshop{T,D,V}
    device::D
    parameters::V
    statistics::V
    taken::Int
    taken_statistics::Int
    number::Int
end

Workshop{T}(device, parameters, statistics) where {T} =
    Workshop{T,typeof(device),typeof(parameters)}(device, parameters, statistics, 0, 0, 0)

function restart!(shop::Workshop)
    shop.taken = shop.taken_statistics = shop.number = 0
    return shop
end

"""The layer's arrays as windows, and where its trainable ones lie."""
function take!(shop::Workshop, plan::Plan)
    ranges = UnitRange{Int}[]
    windows = map(arrays(plan)) do dims
        push!(ranges, shop.taken+1:shop.taken+prod(dims))
        shop.taken += prod(dims)
        window(shop.device, shop.parameters, last(ranges), dims)
    end
    running = map(statistics(plan)) do dims
        range = shop.taken_statistics+1:shop.taken_statistics+prod(dims)
        shop.taken_statistics += prod(dims)
        window(shop.device, shop.statistics, range, dims)
    end
    shop.number += 1
    return (windows..., running...), ranges
end

"""The network as nodes. Activations are nodes of their own, so that every layer is compiled once and not for each."""
function nodes_of(plans, shop::Workshop{T}; training::Bool, private::Bool) where {T}
    restart!(shop)
    nodes = build_nodes(plans, shop, training, private)
    if first(nodes) isa Part{<:Flux.Dense}
        nodes[1] = Part(Entry(first(nodes).layer), first(nodes).ranges)
    end
    return nodes
end

function build_nodes(plans, shop::Workshop{T}, training::Bool, private::Bool) where {T}
    nodes = Node[]
    for plan in plans
        if plan isa SkipPlan
            push!(nodes, Join(build_nodes(plan.layers, shop, training, private), plan.concat))
            continue
        end
        windows, ranges = take!(shop, plan)
        if plan isa DropoutPlan
            training && push!(nodes, Drop(plan.rate, shop.number - 1))
        elseif plan isa EmbeddingPlan
            push!(nodes, Lookup(layer(plan, T, windows...), ranges))
        elseif plan isa BatchNormPlan
            private && throw(ArgumentError("a batch normalisation mixes rows: no private update can have it"))
            push!(nodes, Part(layer(linear(plan), T, windows...; training), ranges))
        else
            push!(nodes, Part(layer(linear(plan), T, windows...), ranges))
        end
        activation_of(plan) === identity || push!(nodes, Activate(activation_of(plan)))
    end
    return nodes
end

activation_of(plan::Plan) = identity
activation_of(plan::Union{DensePlan,BatchNormPlan,LayerNormPlan,ConvPlan}) = plan.σ

"""The layer without its activation."""
linear(plan::Plan) = plan
linear(plan::DensePlan) = DensePlan(plan.inputs, plan.outputs, plan.bias, identity)
linear(plan::LayerNormPlan) = LayerNormPlan(plan.size, plan.epsilon, identity)
linear(plan::BatchNormPlan) = BatchNormPlan(plan.shape, plan.momentum, plan.epsilon, identity)
linear(plan::ConvPlan) = ConvPlan(
    plan.width, plan.channels, plan.outputs, plan.kernel, plan.stride, plan.padding, plan.bias, identity,
)

