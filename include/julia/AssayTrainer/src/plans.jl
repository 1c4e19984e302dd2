# One plan per kind of layer: what it takes and gives, which arrays it has, and how it becomes a Flux layer.
#
# Shapes are those of Flux without the rows: (size,) or (width, channels). `arrays(plan)` are the shapes of the
# trainable arrays as Flux has them, in the order of the border, and `statistics(plan)` those of the running
# statistics. `to_border(plan, k, array)` is array k flattened as the border has it.

abstract type Plan end

arrays(::Plan) = Dims[]
statistics(::Plan) = Dims[]
to_border(::Plan, ::Int, array::AbstractArray) = vec(array)
gives(plan::Plan) = takes(plan)

struct DensePlan{F} <: Plan
    inputs::Int
    outputs::Int
    bias::Bool
    σ::F
end

takes(plan::DensePlan) = (plan.inputs,)
gives(plan::DensePlan) = (plan.outputs,)
function arrays(plan::DensePlan)
    weight = (plan.outputs, plan.inputs)
    return plan.bias ? Dims[weight, (plan.outputs,)] : Dims[weight]
end
to_border(::DensePlan, ::Int, array::AbstractMatrix) = vec(permutedims(array))
layer(plan::DensePlan, ::Type, weight, bias = false) = Flux.Dense(weight, bias, plan.σ)

struct EmbeddingPlan <: Plan
    inputs::Int
    dim::Int
    features::Vector{Int}
    vocabularies::Vector{Int}
end

rest(plan::EmbeddingPlan) = setdiff(1:plan.inputs, plan.features)
takes(plan::EmbeddingPlan) = (plan.inputs,)
gives(plan::EmbeddingPlan) = (plan.dim * length(plan.features) + plan.inputs - length(plan.features),)
arrays(plan::EmbeddingPlan) = Dims[(plan.dim, vocabulary) for vocabulary in plan.vocabularies]
layer(plan::EmbeddingPlan, ::Type, tables...) =
    CategoryEmbedding([Flux.Embedding(table) for table in tables], plan.features, rest(plan))

struct UnflattenPlan <: Plan
    size::Int
end

takes(plan::UnflattenPlan) = (plan.size,)
gives(plan::UnflattenPlan) = (plan.size, 1)
layer(::UnflattenPlan, ::Type) = Unflatten()

struct FlattenPlan <: Plan
    width::Int
    channels::Int
end

takes(plan::FlattenPlan) = (plan.width, plan.channels)
gives(plan::FlattenPlan) = (plan.width * plan.channels,)
layer(::FlattenPlan, ::Type) = Flatten()

struct BatchNormPlan{F} <: Plan
    shape::Dims
    momentum::Float64
    epsilon::Float64
    σ::F
end

takes(plan::BatchNormPlan) = plan.shape
arrays(plan::BatchNormPlan) = Dims[(last(plan.shape),), (last(plan.shape),)]
statistics(plan::BatchNormPlan) = Dims[(last(plan.shape),), (last(plan.shape),)]
layer(plan::BatchNormPlan, ::Type{T}, scale, bias, mean, variance; training::Bool = false) where {T} = Flux.BatchNorm(
    plan.σ, bias, scale, mean, variance, T(plan.epsilon), T(plan.momentum), true, true, training, last(plan.shape),
)

struct LayerNormPlan{F} <: Plan
    size::Int
    epsilon::Float64
    σ::F
end

takes(plan::LayerNormPlan) = (plan.size,)
arrays(plan::LayerNormPlan) = Dims[(plan.size,), (plan.size,)]
layer(plan::LayerNormPlan, ::Type{T}, scale, bias) where {T} =
    Flux.LayerNorm(plan.σ, Flux.Scale(scale, bias, plan.σ), T(plan.epsilon), (plan.size,), true)

struct DropoutPlan <: Plan
    shape::Dims
    rate::Float64
end

takes(plan::DropoutPlan) = plan.shape
layer(plan::DropoutPlan, ::Type) = Flux.Dropout(plan.rate; active = false)

struct ConvPlan{F} <: Plan
    width::Int
    channels::Int
    outputs::Int
    kernel::Int
    stride::Int
    padding::Int
    bias::Bool
    σ::F
end

takes(plan::ConvPlan) = (plan.width, plan.channels)
gives(plan::ConvPlan) = ((plan.width + 2plan.padding - plan.kernel) ÷ plan.stride + 1, plan.outputs)
function arrays(plan::ConvPlan)
    weight = (plan.kernel, plan.channels, plan.outputs)
    return plan.bias ? Dims[weight, (plan.outputs,)] : Dims[weight]
end
# Flux's convolution runs through its kernel backwards; the border's is a cross-correlation.
to_border(::ConvPlan, ::Int, array::AbstractArray{<:Any,3}) = vec(reverse(array; dims = 1))
layer(plan::ConvPlan, ::Type, weight, bias = false) =
    Flux.Conv(weight, bias, plan.σ; stride = plan.stride, pad = plan.padding)

struct MaxPoolPlan <: Plan
    width::Int
    channels::Int
    window::Int
    stride::Int
end

takes(plan::MaxPoolPlan) = (plan.width, plan.channels)
gives(plan::MaxPoolPlan) = ((plan.width - plan.window) ÷ plan.stride + 1, plan.channels)
layer(plan::MaxPoolPlan, ::Type) = Flux.MaxPool((plan.window,); stride = plan.stride)

struct SkipPlan <: Plan
    layers::Vector{Plan}
    concat::Bool
end

takes(plan::SkipPlan) = takes(first(plan.layers))
function gives(plan::SkipPlan)
    inner = gives(last(plan.layers))
    plan.concat || return inner
    return (inner[1:end-1]..., inner[end] + takes(plan)[end])
end
