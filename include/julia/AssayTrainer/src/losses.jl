# A loss turns labels into targets, outputs into one loss per row by Flux's own functions, and judges outputs.

abstract type Objective end

"""Cross-entropy over logits; labels are class numbers from zero."""
struct CrossEntropy <: Objective end

"""Cross-entropy over one logit, that of the second class; labels are 0 and 1."""
struct BinaryCrossEntropy <: Objective end

"""Squared error; labels are numbers in the network's scale."""
struct SquaredError <: Objective end

"""Huber's loss: half squares up to `delta`, lines beyond."""
struct Huber <: Objective
    delta::Float64
end

const Classes = Union{CrossEntropy,BinaryCrossEntropy}
const Numbers = Union{SquaredError,Huber}

function objective(name::AbstractString, delta::Real = 1.0)
    name == "logit_cross_entropy" && return CrossEntropy()
    name == "binary_logit_cross_entropy" && return BinaryCrossEntropy()
    name == "mse" && return SquaredError()
    name == "huber" && return Huber(Float64(delta))
    known = "logit_cross_entropy, binary_logit_cross_entropy, mse and huber"
    throw(ArgumentError("the loss \"$name\" is not known; there are $known"))
end

"""
    row_losses(objective, output, target) -> Vector

The loss of each row, not weighted; output and target are (outputs, rows).
"""
row_losses(::CrossEntropy, output, target) = vec(Flux.logitcrossentropy(output, target; agg = identity))
row_losses(::BinaryCrossEntropy, output, target) = vec(Flux.logitbinarycrossentropy(output, target; agg = identity))
row_losses(::SquaredError, output, target) = vec(Flux.mse(output, target; agg = identity))
row_losses(goal::Huber, output, target) = vec(Flux.huber_loss(output, target; delta = goal.delta, agg = identity))

"""
    losses_and_back(objective, output, target)

Row losses, and from one coefficient per row to the derivative of their weighted sum with respect to the output.
"""
function losses_and_back(goal::Objective, output, target)
    losses, back = Zygote.pullback(predicted -> row_losses(goal, predicted, target), output)
    return losses, coefficients -> only(back(coefficients))
end

"""Fill targets (outputs, batch) with the labels of these rows: one-hot and dense, so that they move to any device."""
function fill_targets!(::CrossEntropy, target::Matrix{T}, y, rows) where {T}
    fill!(target, zero(T))
    for (column, row) in enumerate(rows)
        target[Int(y[row+1])+1, column] = one(T)
    end
    return target
end

function fill_targets!(::Union{BinaryCrossEntropy,Numbers}, target::Matrix, y, rows)
    for (column, row) in enumerate(rows)
        target[1, column] = y[row+1]
    end
    return target
end

"""How many rows of a batch are right: the first of the largest logits is the label's, or a number's sign tells it."""
hits(::CrossEntropy, output::Matrix, y, rows) =
    count(((column, row),) -> argmax(view(output, :, column)) == Int(y[row+1]) + 1, enumerate(rows))
hits(::BinaryCrossEntropy, output::Matrix, y, rows) =
    count(((column, row),) -> (output[1, column] > 0) == (y[row+1] == 1), enumerate(rows))
hits(::Numbers, output::Matrix, y, rows) = 0

"""Sum of the squared errors of a batch, for R²."""
squares(::Classes, output::Matrix{Float64}, y, rows) = 0.0
squares(::Numbers, output::Matrix{Float64}, y, rows) =
    sum(((column, row),) -> abs2(output[1, column] - Float64(y[row+1])), enumerate(rows); init = 0.0)
