# DP-SGD (Abadi and others 2016) with the exact norm of each row's gradient and no gradient per row: two ways
# back, the first to measure the norms, the second with each row scaled by its clipping factor ("ghost clipping",
# Li and others 2022). No layer of a private network mixes rows.

"""
    run_private!(trainer, x, y, rows, rate, step, losses, noise) -> Tally

Make one update: the rows' gradients are clipped to `max_norm`, added up, `noise_deviation` times `noise` is
added, and the sum is divided by `expected_rows`, however many rows there are; there may be none.

`noise` are standard normal numbers, one per parameter as they cross the border, or `nothing` where the deviation
is 0. The other arguments are those of [`run!`](@ref).
"""
function run_private!(
    trainer::Trainer{T},
    x::AbstractMatrix,
    y::AbstractVector,
    rows::AbstractVector{<:Integer},
    rate::Real,
    step::Integer,
    losses::AbstractVector{Float32},
    noise::Union{Nothing,AbstractVector{<:Real}},
) where {T}
    isnothing(trainer.clipping) && throw(ArgumentError("the trainer was made without clipping"))
    check(trainer, x, y, rows)
    length(losses) == length(rows) || throw(DimensionMismatch("there is no room for $(length(rows)) losses"))
    tally = Tally()
    if isempty(rows)
        fill!(trainer.gradient, 0)
        proposal = Proposal(T[], T[], trainer.statistics, 0, Int32[])
    else
        room = Room{T}(size(x, 1), trainer.outputs)
        proposal = propose_private!(trainer, room, x, y, rows, Pass(trainer.seed, Int(step)))
    end
    add_noise!(trainer, noise)
    conclude!(trainer, tally, losses, proposal, Float64(rate))
    return tally
end

"""The sum of the clipped gradients of a batch."""
function propose_private!(trainer::Trainer{T}, room::Room{T}, x, y, rows, pass::Pass) where {T}
    inputs, target, weights = load!(room, trainer, x, y, rows)
    output, stops = forward(trainer.nodes, inputs, pass)
    losses, back = losses_and_back(trainer.goal, output, target)
    squares = move(trainer.device, zeros(Float64, length(rows)))
    backward!(trainer.gradient, stops, back(weights), squares)
    norms = sqrt.(Array(squares))
    limit = trainer.clipping.max_norm
    factors = T.(limit ./ max.(norms, limit))
    backward!(trainer.gradient, stops, back(move(trainer.device, room.weights .* factors)))
    return Proposal(losses, room.weights, trainer.statistics, count(>(limit), norms), Int32[])
end

"""Noise on the sum, then the division."""
function add_noise!(trainer::Trainer{T}, noise) where {T}
    (; noise_deviation, expected_rows) = trainer.clipping
    total = Vector{Float64}(Array(trainer.gradient))
    if noise_deviation > 0
        isnothing(noise) && throw(ArgumentError("private updates need noise, and none is given"))
        length(noise) == length(total) ||
            throw(DimensionMismatch("there are $(length(total)) parameters, but $(length(noise)) numbers of noise"))
        view(total, trainer.order) .+= noise_deviation .* noise
    end
    copyto!(trainer.gradient, move(trainer.device, T.(total ./ expected_rows)))
    return nothing
end

"""
    add_squares!(squares, node, input, delta)

Add each row's share in its squared gradient norm: that of the parameters of this node, from its input and the
derivative with respect to its output.

A matrix that a row uses once has the outer product of both as its gradient, with the square |input|² |delta|²
(Goodfellow 2015).
"""
add_squares!(squares, ::Node, input, delta) = nothing

dense_of(layer::Flux.Dense) = layer
dense_of(entry::Entry) = entry.dense

function add_squares!(squares, part::Part{<:Union{Flux.Dense,Entry}}, input, delta)
    of_delta = of_rows(delta)
    squares .+= of_rows(input) .* of_delta
    dense_of(part.layer).bias isa AbstractVector && (squares .+= of_delta)
    return nothing
end

function add_squares!(squares, node::Lookup, _, delta)
    dims = sum(embedding -> size(embedding.weight, 1), node.layer.tables)
    squares .+= of_rows(view(delta, 1:dims, :))
    return nothing
end

function add_squares!(squares, part::Part{<:Flux.LayerNorm}, input, delta)
    squares .+= of_rows(delta .* Flux.normalise(input; dims = 1, eps = part.layer.ϵ)) .+ of_rows(delta)
    return nothing
end

function add_squares!(squares, part::Part{<:Flux.Conv}, input, delta)
    layer = part.layer
    patches = NNlib.unfold(input, size(layer.weight); stride = layer.stride, pad = layer.pad)
    products = NNlib.batched_mul(NNlib.batched_transpose(patches), delta)
    squares .+= of_rows(reshape(products, :, size(products, 3)))
    layer.bias isa AbstractVector && (squares .+= of_rows(dropdims(sum(delta; dims = 1); dims = 1)))
    return nothing
end

of_rows(array::AbstractMatrix) = Float64.(vec(sum(abs2, array; dims = 1)))
