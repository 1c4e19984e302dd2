# How the gradients of several sources become one, some of which may be hostile. Gradients are the columns of a
# Float64 matrix (parameters, sources) in main memory. A rule that cannot stand so many hostile sources refuses.

"""
    Unstandable(rule, byzantine, least, found)

Too few sources for what a robust aggregation promises.
"""
struct Unstandable <: Exception
    rule::Symbol
    byzantine::Int
    least::Int
    found::Int
end

Base.showerror(io::IO, error::Unstandable) = print(
    io,
    "$(error.rule) cannot stand $(error.byzantine) hostile of $(error.found) sources: it needs $(error.least)",
)

const RULES = (:mean, :median, :trimmed_mean, :krum, :multi_krum, :geometric_median)
const WEISZFELD_TOLERANCE = 1e-10
const WEISZFELD_ROUNDS = 1000

"""
    Aggregation(name, byzantine)

One of the rules by name, and how many hostile sources it is to stand.
"""
struct Aggregation
    kind::Symbol
    byzantine::Int
    function Aggregation(name::AbstractString, byzantine::Integer)
        Symbol(name) in RULES ||
            throw(ArgumentError("the aggregation \"$name\" is not known; there are $(join(RULES, ", "))"))
        byzantine >= 0 || throw(ArgumentError("there cannot be $byzantine hostile sources"))
        return new(Symbol(name), byzantine)
    end
end

"""Whether the rule leaves sources out; the others take something of each."""
chooses(rule::Aggregation) = rule.kind in (:krum, :multi_krum)

"""
    aggregate(rule, gradients) -> (gradient, dropped)

One gradient of those of the sources, and the columns that krum or multi_krum left out, ascending.

Throws [`Unstandable`](@ref) unless n ≥ 2f + 3 (krum, multi_krum) or n > 2f (the others but the mean).
"""
function aggregate(rule::Aggregation, gradients::Matrix{Float64})
    n, f = size(gradients, 2), rule.byzantine
    least = rule.kind == :mean ? 1 : 2f + (chooses(rule) ? 3 : 1)
    n >= least || throw(Unstandable(rule.kind, f, least, n))
    rule.kind == :mean && return average(gradients), Int[]
    rule.kind == :median && return median_of_each(gradients), Int[]
    rule.kind == :trimmed_mean && return trimmed_mean(gradients, f), Int[]
    rule.kind == :geometric_median && return geometric_median(gradients), Int[]
    kept = sort!(sortperm(krum_scores(gradients, f); alg = MergeSort)[1:(rule.kind == :krum ? 1 : n - f)])
    return average(gradients[:, kept]), setdiff(1:n, kept)
end

average(columns::AbstractMatrix) = vec(sum(columns; dims = 2)) ./ size(columns, 2)

"""The median of each coordinate (Yin, Chen, Ramchandran and Bartlett 2018)."""
function median_of_each(gradients::Matrix{Float64})
    n = size(gradients, 2)
    return map(eachrow(gradients)) do numbers
        any(isnan, numbers) && return NaN
        ordered = sort(numbers)
        isodd(n) ? ordered[(n+1)÷2] : (ordered[n÷2] + ordered[n÷2+1]) / 2
    end
end

"""The mean of each coordinate without its f largest and f smallest (the same paper)."""
trimmed_mean(gradients::Matrix{Float64}, f::Int) = average(sort(gradients; dims = 2)[:, f+1:end-f])

"""For each source the sum of its squared distances to its n - f - 2 nearest others."""
function krum_scores(gradients::Matrix{Float64}, f::Int)
    n = size(gradients, 2)
    return map(1:n) do one
        distances = [sum(abs2, view(gradients, :, one) .- view(gradients, :, other)) for other in 1:n if other != one]
        sum(partialsort!(distances, 1:n-f-2))
    end
end

"""
The point with the least sum of distances to all, by Weiszfeld's iteration from the mean in the form of Vardi and
Zhang (2000), which does not stop short on one of the points.
"""
function geometric_median(gradients::Matrix{Float64})
    at = average(gradients)
    for _ in 1:WEISZFELD_ROUNDS
        differences = gradients .- at
        distances = sqrt.(vec(sum(abs2, differences; dims = 1)))
        apart = distances .> 0
        any(apart) && all(isfinite, distances) || break
        pulls = 1 ./ distances[apart]
        target = gradients[:, apart] * pulls ./ sum(pulls)
        here = count(!, apart)
        if here > 0
            # On top of some points: their weight holds back the pull of the others, wholly if it is the greater.
            pull = norm(differences[:, apart] * pulls)
            pull <= here && break
            target = at .+ (1 - here / pull) .* (target .- at)
        end
        moved = norm(target .- at)
        at = target
        moved <= WEISZFELD_TOLERANCE * sum(distances) / length(distances) && break
    end
    return at
end

"""
    unstandable(error) -> Union{NamedTuple, Nothing}

What an [`Unstandable`](@ref) says, for callers that do not have Julia's types: the name of the rule, how many sources may
be hostile, and how many were found. `nothing` of any other error.
"""
unstandable(error) = nothing
unstandable(error::Unstandable) =
    (rule=string(error.rule), byzantine=error.byzantine, found=error.found)
