"""Room for one batch in main memory, kept from batch to batch of the same size."""
mutable struct Room{T}
    x::Matrix{T}
    target::Matrix{T}
    weights::Vector{T}
end

Room{T}(features::Int, outputs::Int) where {T} = Room{T}(zeros(T, features, 0), zeros(T, outputs, 0), T[])

function fit!(room::Room{T}, count::Int) where {T}
    if length(room.weights) != count
        room.x = Matrix{T}(undef, size(room.x, 1), count)
        room.target = Matrix{T}(undef, size(room.target, 1), count)
        room.weights = Vector{T}(undef, count)
    end
    return room
end

"""The rows' columns of `x`, converted."""
function fill_rows!(batch::Matrix{T}, x::AbstractMatrix, rows) where {T}
    for (column, row) in enumerate(rows)
        @inbounds @simd for feature in axes(x, 1)
            batch[feature, column] = x[feature, row+1]
        end
    end
    return batch
end

"""The weight of each row's class, or ones."""
fill_weights!(weights::Vector, ::Nothing, y, rows) = fill!(weights, 1)
function fill_weights!(weights::Vector, of_class::Vector{Float64}, y, rows)
    for (column, row) in enumerate(rows)
        weights[column] = of_class[Int(y[row+1])+1]
    end
    return weights
end

"""Fill the room with these rows; returns features, targets and weights on the device."""
function load!(room::Room, trainer::Trainer, x, y, rows)
    fit!(room, length(rows))
    fill_rows!(room.x, x, rows)
    fill_targets!(trainer.goal, room.target, y, rows)
    fill_weights!(room.weights, trainer.class_weights, y, rows)
    place = trainer.device
    return move(place, room.x), move(place, room.target), move(place, room.weights)
end

function check(trainer::Trainer, x, y, rows)
    size(x, 2) == length(y) || throw(DimensionMismatch("x has $(size(x, 2)) rows, y has $(length(y))"))
    if !isempty(rows)
        lowest, highest = extrema(rows)
        0 <= lowest && highest < length(y) || throw(BoundsError(y, (lowest < 0 ? lowest : highest) + 1))
    end
    return nothing
end
