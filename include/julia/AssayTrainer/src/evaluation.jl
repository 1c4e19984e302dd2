const EVALUATION_ROWS = 8192

"""
    evaluate(trainer, x, y, rows, losses) -> (; loss, metric)

Mean weighted loss per row, and accuracy or R² (`NaN` where all labels are equal), without learning: no dropout,
running statistics. Outputs are judged and sums made in Float64. `losses` gains each row's loss, not weighted.
"""
function evaluate(
    trainer::Trainer{T},
    x::AbstractMatrix,
    y::AbstractVector,
    rows::AbstractVector{<:Integer},
    losses::AbstractVector{Float32},
) where {T}
    check(trainer, x, y, rows)
    length(losses) == length(rows) || throw(DimensionMismatch("there is no room for $(length(rows)) losses"))
    isempty(rows) && return (; loss = NaN, metric = NaN)
    room = Room{T}(size(x, 1), trainer.outputs)
    target, weights = zeros(trainer.outputs, 0), Float64[]
    total = errors = 0.0
    right = 0
    for span in parts(rows)
        part = view(rows, span)
        output = outputs(trainer, room, x, part)
        if length(weights) != length(part)
            target, weights = zeros(trainer.outputs, length(part)), zeros(length(part))
        end
        found = row_losses(trainer.goal, output, fill_targets!(trainer.goal, target, y, part))
        total += sum(found .* fill_weights!(weights, trainer.class_weights, y, part))
        errors += squares(trainer.goal, output, y, part)
        right += hits(trainer.goal, output, y, part)
        view(losses, span) .= found
    end
    return (; loss = total / length(rows), metric = metric(trainer.goal, errors, right, y, rows))
end

parts(rows) = (start:min(start + EVALUATION_ROWS - 1, length(rows)) for start in 1:EVALUATION_ROWS:length(rows))

"""The network's outputs for these rows, in test mode, in main memory as Float64."""
function outputs(trainer::Trainer, room::Room, x, rows)::Matrix{Float64}
    fill_rows!(fit!(room, length(rows)).x, x, rows)
    return Matrix{Float64}(Array(apply(trainer.testing, move(trainer.device, room.x))))
end

metric(::Classes, errors, right, y, rows) = right / length(rows)

function metric(::Numbers, errors, right, y, rows)
    centre = sum(row -> Float64(y[row+1]), rows) / length(rows)
    spread = sum(row -> abs2(Float64(y[row+1]) - centre), rows)
    return spread > 0 ? 1 - errors / spread : NaN
end

"""
    gradient_gram!(gram, trainer, x, y, rows, offsets)

Fill `gram` (groups, groups) with the inner products of the groups' mean gradients, measured as [`evaluate`](@ref)
does; group i is `rows[offsets[i]+1:offsets[i+1]]`, and one without rows has `NaN`.
"""
function gradient_gram!(
    gram::AbstractMatrix{Float64},
    trainer::Trainer{T},
    x::AbstractMatrix,
    y::AbstractVector,
    rows::AbstractVector{<:Integer},
    offsets::AbstractVector{<:Integer},
) where {T}
    check(trainer, x, y, rows)
    groups = length(offsets) - 1
    size(gram) == (groups, groups) || throw(DimensionMismatch("there is no room for $groups groups"))
    gradients = zeros(length(trainer.parameters), groups)
    gradient, room = similar(trainer.gradient), Room{T}(size(x, 1), trainer.outputs)
    for group in 1:groups
        own = view(rows, Int(offsets[group])+1:Int(offsets[group+1]))
        column = view(gradients, :, group)
        for span in parts(own)
            inputs, target, weights = load!(room, trainer, x, y, view(own, span))
            output, stops = forward(trainer.testing, inputs, Pass(trainer.seed, 0))
            _, back = losses_and_back(trainer.goal, output, target)
            backward!(gradient, stops, back(weights))
            column .+= Array(gradient)
        end
        column ./= length(own)
    end
    gram .= gradients' * gradients
    return nothing
end
