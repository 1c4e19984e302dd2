const EVALUATION_ROWS = 8192

"""Columns of `x` as an array of their own, converted. Written as loops: `x` may be memory that is not Julia's."""
function gather(::Type{T}, x::AbstractMatrix, rows) where {T}
    batch = Matrix{T}(undef, size(x, 1), length(rows))
    for (column, row) in enumerate(rows)
        @inbounds for feature in axes(x, 1)
            batch[feature, column] = x[feature, row]
        end
    end
    return batch
end

"""Sum of squares in Float64 over a gradient as Zygote gives it: nested named tuples, `nothing` where there is none."""
square_sum(::Nothing) = 0.0
square_sum(::Number) = 0.0
square_sum(array::AbstractArray{<:AbstractFloat}) = sum(z -> abs2(Float64(z)), array; init = 0.0)
square_sum(nested::Union{Tuple,NamedTuple}) = sum(square_sum, values(nested); init = 0.0)
square_sum(::Any) = 0.0

"""One update; returns the loss before it, the gradient's norm, and whether the update was made."""
function step!(trainer::Trainer, x, y)
    goal = trainer.loss
    value, gradients = Flux.withgradient(model -> loss(goal, model(x), y), trainer.model)
    gradient = gradients[1]
    norm = sqrt(square_sum(gradient))
    # Checked here, because Flux would either throw or pass over the batch without a word.
    isfinite(value) && isfinite(norm) || return (Float64(value), norm, false)
    Flux.update!(trainer.state, trainer.model, gradient)
    return (Float64(value), norm, true)
end

"""
    epoch!(trainer, x, y, order, batch_size) -> (; loss, gradient_norm, updates, skipped)

Learn from the rows in this order, in batches; the last one may be smaller.

`x` is (features, rows), `y` (rows), `order` row numbers counted from one. `loss` is the mean per row over the batches
that led to an update, each measured before its own update, and `gradient_norm` the mean Euclidean norm over those
batches. A batch whose loss or gradient is not finite leads to no update and is counted in `skipped`.
"""
function epoch!(
    trainer::Trainer{T},
    x::AbstractMatrix,
    y::AbstractVector,
    order::AbstractVector{<:Integer},
    batch_size::Integer,
) where {T}
    check(x, y, order)
    outputs = size(last(trainer.model.layers).weight, 1)
    total = norms = 0.0
    seen = updates = skipped = 0
    for start in 1:Int(batch_size):length(order)
        rows = order[start:min(start + Int(batch_size) - 1, length(order))]
        batch = move(trainer.device, gather(T, x, rows))
        target = move(trainer.device, targets(trainer.loss, T, y, rows, outputs))
        value, norm, applied = step!(trainer, batch, target)
        if applied
            total += value * length(rows)
            norms += norm
            seen += length(rows)
            updates += 1
        else
            skipped += 1
        end
    end
    return (; loss = total / seen, gradient_norm = norms / updates, updates, skipped)
end

"""
    evaluate(trainer, x, y, rows) -> (; loss, metric)

Mean loss per row, and accuracy or R² (`NaN` where all labels are equal), without learning. Sums are in Float64.
"""
function evaluate(
    trainer::Trainer{T},
    x::AbstractMatrix,
    y::AbstractVector,
    rows::AbstractVector{<:Integer},
) where {T}
    check(x, y, rows)
    total = 0.0
    hits = 0
    for start in 1:EVALUATION_ROWS:length(rows)
        part = rows[start:min(start + EVALUATION_ROWS - 1, length(rows))]
        output = Array(trainer.model(move(trainer.device, gather(T, x, part))))
        sum_of_losses, right = judge(trainer.loss, Matrix{Float64}(output), y, part)
        total += sum_of_losses
        hits += right
    end
    return (; loss = total / length(rows), metric = metric(trainer.loss, total, hits, y, rows))
end

metric(::CrossEntropy, total, hits, y, rows) = hits / length(rows)

function metric(::SquaredError, total, hits, y, rows)
    centre = sum(row -> Float64(y[row]), rows) / length(rows)
    spread = sum(row -> abs2(Float64(y[row]) - centre), rows)
    return spread > 0 ? 1 - total / spread : NaN
end

function check(x, y, rows)
    size(x, 2) == length(y) || throw(DimensionMismatch("x has $(size(x, 2)) rows, y has $(length(y))"))
    isempty(rows) && throw(ArgumentError("there are no rows"))
    lowest, highest = extrema(rows)
    1 <= lowest && highest <= length(y) || throw(BoundsError(y, lowest < 1 ? lowest : highest))
    return nothing
end
