# A loss knows how labels become targets and how an output is judged. `losses` and `hits` work in Float64 on the CPU.

abstract type Objective end

"""Cross-entropy over logits; labels are class numbers from zero, as the data has them."""
struct CrossEntropy <: Objective end

"""Mean squared error; labels are numbers in the network's scale."""
struct SquaredError <: Objective end

function objective(name::AbstractString)
    name == "logit_cross_entropy" && return CrossEntropy()
    name == "mse" && return SquaredError()
    throw(ArgumentError("the loss \"$name\" is not known; there are logit_cross_entropy and mse"))
end

loss(::CrossEntropy, output, target) = Flux.logitcrossentropy(output, target)
loss(::SquaredError, output, target) = Flux.mse(output, target)

"""One-hot targets (outputs, batch), dense, so that they move to any device."""
function targets(::CrossEntropy, ::Type{T}, y, rows, outputs) where {T}
    target = zeros(T, outputs, length(rows))
    for (column, row) in enumerate(rows)
        target[Int(y[row])+1, column] = one(T)
    end
    return target
end

"""Targets (1, batch)."""
targets(::SquaredError, ::Type{T}, y, rows, outputs) where {T} = T[y[row] for _ in 1:1, row in rows]

"""Sum of losses over a batch, and the number of hits."""
function judge(::CrossEntropy, output::AbstractMatrix{Float64}, y, rows)
    total = 0.0
    hits = 0
    for (column, row) in enumerate(rows)
        logits = view(output, :, column)
        label = Int(y[row]) + 1
        highest = maximum(logits)
        total += highest + log(sum(z -> exp(z - highest), logits)) - logits[label]
        hits += argmax(logits) == label
    end
    return total, hits
end

judge(::SquaredError, output::AbstractMatrix{Float64}, y, rows) =
    (sum(abs2(output[1, column] - Float64(y[row])) for (column, row) in enumerate(rows)), 0)
