"""Stands for memory of a model's own: its windows are copies."""
struct Own <: Device end

window(::Own, flat::Vector, range::UnitRange{Int}, dims::Dims) = reshape(flat[range], dims)

"""
    trained_model(trainer) -> Chain

The network as it is now: a Flux `Chain` in test mode with plain arrays of its own, on the CPU. Layers are Flux's
but for those of `layers.jl`.
"""
function trained_model(trainer::Trainer{T}) where {T}
    shop = Workshop{T}(Own(), Array(trainer.parameters), Array(trainer.statistics))
    return build_chain(trainer.plans, shop)
end

function build_chain(plans::Vector{Plan}, shop::Workshop{T}) where {T}
    built = Any[]
    for plan in plans
        if plan isa SkipPlan
            push!(built, Flux.SkipConnection(build_chain(plan.layers, shop), plan.concat ? concat : add))
        else
            push!(built, layer(plan, T, first(take!(shop, plan))...))
        end
    end
    return Chain(built...)
end

"""
    save_model(trainer, path)

Write [`trained_model`](@ref) to a file with Julia's Serialization. It can be read where this package can be loaded.

Reading such a file can run code: who reads it checks its signature first.
"""
function save_model(trainer::Trainer, path::AbstractString)
    open(io -> serialize(io, trained_model(trainer)), path, "w")
    return nothing
end
