# Dropout's masks depend on seed, update, layer, row and place alone, never on a running generator: the reference
# backend has the same ones, and a resumed run those of the run that was killed.

"""The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
@inline function mix(word::UInt64)
    word += 0x9e3779b97f4a7c15
    word = (word ⊻ (word >> 30)) * 0xbf58476d1ce4e5b9
    word = (word ⊻ (word >> 27)) * 0x94d049bb133111eb
    return word ⊻ (word >> 31)
end

"""
    mask_key(seed, step, layer) -> UInt64

What the numbers of one dropout layer at one update are counted on from.
"""
mask_key(seed::UInt64, step::Integer, layer::Integer) = mix(mix(mix(seed) ⊻ UInt64(step)) ⊻ UInt64(layer))

"""
    mask(like, key, rate)

An array as `like`, 0 where an input is dropped and 1/(1 - rate) elsewhere.

The number of place `i` of the batch, counted from zero through all rows, is the upper 53 bits of `mix(key + i)` as a
fraction; the input is kept where it is at least `rate`.
"""
function mask(like::AbstractArray{T}, key::UInt64, rate::Float64) where {T}
    least = ceil(UInt64, rate * 2.0^53)
    kept = T(1 / (1 - rate))
    made = similar(like)
    places = reshape(UInt64(0):UInt64(length(like) - 1), size(like))
    made .= ifelse.(mix.(key .+ places) .>> 11 .>= least, kept, zero(T))
    return made
end
