const ELEMENTS =
    Dict{String,DataType}("float32" => Float32, "float64" => Float64, "int32" => Int32, "int64" => Int64)

"""
    borrow(address, dtype, dims...) -> Array

Memory of another owner as a Julia array, without a copy: numbers of that dtype in column-major order.

Julia neither frees it nor notices when its owner does: the caller keeps it alive for as long as the array is used.
"""
function borrow(address::Integer, dtype::AbstractString, dims::Integer...)
    haskey(ELEMENTS, dtype) || throw(ArgumentError("the dtype \"$dtype\" is not known"))
    return unsafe_wrap(Array, Ptr{ELEMENTS[dtype]}(UInt(address)), Int.(dims))
end
