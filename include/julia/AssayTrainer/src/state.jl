# What a training goes on from: parameters, statistics, and the optimiser's memory, as they cross the border.

"""
    read_weights!(trainer, parameters, statistics)

Copy them into arrays of the caller's, in the border's order.
"""
function read_weights!(trainer::Trainer, parameters::AbstractVector, statistics::AbstractVector)
    parameters .= view(Array(trainer.parameters), trainer.order)
    statistics .= Array(trainer.statistics)
    return nothing
end

"""
    write_weights!(trainer, parameters, statistics)

Go on from these; the optimiser's memory stays.
"""
function write_weights!(trainer::Trainer, parameters::AbstractVector, statistics::AbstractVector)
    length(parameters) == length(trainer.parameters) && length(statistics) == length(trainer.statistics) ||
        throw(DimensionMismatch("these are not the weights of this network"))
    write!(trainer, trainer.parameters, parameters)
    copyto!(trainer.statistics, Vector{eltype(trainer.statistics)}(statistics))
    return nothing
end

function write!(trainer::Trainer{T}, target::AbstractVector, source::AbstractVector) where {T}
    inner = Vector{T}(undef, length(target))
    inner[trainer.order] = source
    copyto!(target, inner)
    return nothing
end

"""
    slots(trainer) -> Vector{Vector}

Copies of all that the optimiser remembers: arrays in the border's order, and running powers.
"""
slots(trainer::Trainer) = collect_slots!(Vector{Float64}[], trainer, trainer.rule.state)

collect_slots!(found, trainer, array::AbstractArray) = push!(found, Array(array)[trainer.order])
collect_slots!(found, trainer, numbers::Tuple{AbstractFloat,Vararg{AbstractFloat}}) = push!(found, collect(numbers))
collect_slots!(found, trainer, nested::Tuple) = (foreach(part -> collect_slots!(found, trainer, part), nested); found)
collect_slots!(found, trainer, ::Union{Nothing,Bool}) = found

"""
    write_slots!(trainer, slots...)

Go on from what [`slots`](@ref) gave.
"""
function write_slots!(trainer::Trainer, given::AbstractVector...)
    length(given) == length(slots(trainer)) ||
        throw(DimensionMismatch("the optimiser remembers $(length(slots(trainer))) arrays, not $(length(given))"))
    trainer.rule.state = rebuild(trainer, trainer.rule.state, Iterators.Stateful(given))
    return nothing
end

function rebuild(trainer, array::AbstractArray, given)
    source = popfirst!(given)
    length(source) == length(array) || throw(DimensionMismatch("the optimiser's state is of another network"))
    write!(trainer, array, source)
    return array
end

function rebuild(trainer, numbers::N, given) where {N<:Tuple{AbstractFloat,Vararg{AbstractFloat}}}
    source = popfirst!(given)
    length(source) == length(numbers) || throw(DimensionMismatch("the optimiser's state is of another rule"))
    return N(Tuple(source))
end

rebuild(trainer, nested::Tuple, given) = map(part -> rebuild(trainer, part, given), nested)
rebuild(trainer, same::Union{Nothing,Bool}, given) = same

"""
    device_memory(trainer) -> Union{Int,Nothing}

Bytes in use on a device with memory of its own.
"""
device_memory(trainer::Trainer) = memory_in_use(trainer.device)
