"""What some updates came to; see [`run!`](@ref)."""
mutable struct Tally
    loss_sum::Float64
    rows::Int
    norm_sum::Float64
    norm_max::Float64
    updates::Int
    skipped::Int
    clipped::Int
    dropped::Vector{Vector{Int32}}
end

Tally() = Tally(0.0, 0, 0.0, 0.0, 0, 0, 0, Vector{Int32}[])

"""
    run!(trainer, x, y, rows, offsets, rates, first_step, losses, sources = nothing) -> Tally

Make updates, one after the other.

`x` is (features, rows), `y` (rows) and not changed; batch i is `rows[offsets[i]+1:offsets[i+1]]`, row numbers
from zero, learnt from at `rates[i]`. `losses` gains the loss of each of these rows, not weighted, before its
batch's update. `sources` are the rows' source numbers, which a robust aggregation needs.

An update whose loss or gradient is not finite is not made but counted in `skipped`, and counts in nothing else
but `losses`. `loss_sum` is weighted, norms are those of the gradients that the optimiser got, `dropped` the
sources that krum or multi_krum left out of each update made.

Throws [`Unstandable`](@ref) where a batch has too few sources.
"""
function run!(
    trainer::Trainer{T},
    x::AbstractMatrix,
    y::AbstractVector,
    rows::AbstractVector{<:Integer},
    offsets::AbstractVector{<:Integer},
    rates::AbstractVector{<:Real},
    first_step::Integer,
    losses::AbstractVector{Float32},
    sources::Union{Nothing,AbstractVector{<:Integer}} = nothing,
) where {T}
    isnothing(trainer.clipping) || throw(ArgumentError("private updates are made by run_private!, one at a time"))
    check(trainer, x, y, rows)
    check_batches(rows, offsets, rates, losses)
    robust = trainer.aggregation.kind != :mean
    robust && isnothing(sources) &&
        throw(ArgumentError("$(trainer.aggregation.kind) needs to know each row's source"))
    tally, room = Tally(), Room{T}(size(x, 1), trainer.outputs)
    for i in eachindex(rates)
        span = Int(offsets[i])+1:Int(offsets[i+1])
        isempty(span) && throw(ArgumentError("batch $i is empty"))
        batch = view(rows, span)
        pass = Pass(trainer.seed, Int(first_step) + i - 1)
        finish(update) = conclude!(trainer, tally, view(losses, span), update, Float64(rates[i]))
        if robust
            finish(propose_robust!(trainer, room, x, y, batch, sources, pass))
        else
            finish(propose!(trainer, room, x, y, batch, pass))
        end
    end
    return tally
end

"""A gradient in `trainer.gradient`, and what it came from."""
struct Proposal{V<:AbstractVector,S<:AbstractVector}
    losses::V
    weights::Vector
    statistics::S
    clipped::Int
    dropped::Vector{Int32}
end

"""The mean gradient over a batch."""
function propose!(trainer::Trainer{T}, room::Room{T}, x, y, rows, pass::Pass) where {T}
    inputs, target, weights = load!(room, trainer, x, y, rows)
    statistics = copy(trainer.statistics)
    output, stops = forward(trainer.nodes, inputs, pass)
    losses, back = losses_and_back(trainer.goal, output, target)
    backward!(trainer.gradient, stops, back(weights ./ T(length(rows))))
    return Proposal(losses, room.weights, statistics, 0, Int32[])
end

"""The mean gradient of each source in the batch, aggregated. One forward pass serves all, as rows do not mix."""
function propose_robust!(trainer::Trainer{T}, room::Room{T}, x, y, rows, sources, pass::Pass) where {T}
    inputs, target, _ = load!(room, trainer, x, y, rows)
    of_row = [Int(sources[row+1]) for row in rows]
    present = sort!(unique(of_row))
    output, stops = forward(trainer.nodes, inputs, pass)
    losses, back = losses_and_back(trainer.goal, output, target)
    gradients = Matrix{Float64}(undef, length(trainer.gradient), length(present))
    for (column, source) in enumerate(present)
        own = of_row .== source
        seeds = ifelse.(own, room.weights ./ T(count(own)), zero(T))
        backward!(trainer.gradient, stops, back(move(trainer.device, seeds)))
        gradients[:, column] .= Array(trainer.gradient)
    end
    gradient, dropped = aggregate(trainer.aggregation, gradients)
    copyto!(trainer.gradient, move(trainer.device, T.(gradient)))
    return Proposal(losses, room.weights, trainer.statistics, 0, Int32[present[column] for column in dropped])
end

"""Make the proposed update if all of it is finite, and count it."""
function conclude!(trainer::Trainer, tally::Tally, seen, proposal::Proposal, rate::Float64)
    losses = Array(proposal.losses)
    seen .= losses
    loss = sum(((one, weight),) -> Float64(one) * Float64(weight), zip(losses, proposal.weights); init = 0.0)
    length_of_gradient = sqrt(sum_of_squares(trainer.gradient))
    if !(isfinite(loss) && isfinite(length_of_gradient) && all(isfinite, trainer.statistics))
        proposal.statistics === trainer.statistics || copyto!(trainer.statistics, proposal.statistics)
        tally.skipped += 1
        return nothing
    end
    update!(trainer, rate)
    tally.loss_sum += loss
    tally.rows += length(losses)
    tally.norm_sum += length_of_gradient
    tally.norm_max = max(tally.norm_max, length_of_gradient)
    tally.updates += 1
    tally.clipped += proposal.clipped
    chooses(trainer.aggregation) && push!(tally.dropped, proposal.dropped)
    return nothing
end

function update!(trainer::Trainer, rate::Float64)
    Optimisers.adjust!(trainer.rule, rate)
    Optimisers.update!(trainer.rule, trainer.parameters, trainer.gradient)
    return nothing
end

sum_of_squares(array) = mapreduce(z -> abs2(Float64(z)), +, array; init = 0.0)

function check_batches(rows, offsets, rates, losses)
    length(offsets) == length(rates) + 1 ||
        throw(DimensionMismatch("there are $(length(rates)) learning rates and $(length(offsets)) offsets"))
    issorted(offsets) && first(offsets) == 0 && last(offsets) == length(rows) ||
        throw(ArgumentError("the offsets do not go from 0 to $(length(rows))"))
    length(losses) == length(rows) || throw(DimensionMismatch("there is no room for $(length(rows)) losses"))
    return nothing
end
