# Where arrays live while the network is trained. All else is written for any array; the GPU's methods are in the CUDA
# extension, so that nobody without a GPU has to install CUDA.jl.

abstract type Device end

"""Arrays stay in main memory."""
struct CPU <: Device end

"""Arrays go to the memory of an NVIDIA GPU. Needs CUDA.jl and cuDNN.jl: see [`load_gpu!`](@ref)."""
struct GPU <: Device end

"""
    move(device, array)

The array on the device; on the CPU the array itself.
"""
move(::CPU, array::AbstractArray) = array
function move end

"""
    window(device, flat, range, dims)

A part of a flat array on the device as an array of its own type, which shares its memory and must not outlive it.
"""
window(::CPU, flat::Vector, range::UnitRange{Int}, dims::Dims) =
    unsafe_wrap(Array, pointer(flat, first(range)), dims)
function window end

"""
    memory_in_use(device) -> Union{Int,Nothing}

Bytes in use on a device with memory of its own, else `nothing`.
"""
memory_in_use(::CPU) = nothing
function memory_in_use end

"""
    gpu_trouble() -> String

Why CUDA.jl cannot use a GPU here, or an empty string. The extension adds the method.
"""
function gpu_trouble end

"""
    gpu_name() -> String

Name and memory of the GPU. The extension adds the method.
"""
function gpu_name end

"""
    load_gpu!() -> String

Load CUDA.jl and cuDNN.jl if the project has them, and say why no GPU can be used; an empty string means that one can.

Their methods can be called from the next call on, not within this one.
"""
function load_gpu!()
    for name in (:CUDA, :cuDNN)
        isnothing(Base.find_package(string(name))) && return "$name.jl is not in the Julia project"
        try
            Base.require(Main, name)
        catch error
            return "$name.jl cannot be loaded: $(first(split(sprint(showerror, error), '\n')))"
        end
    end
    hasmethod(gpu_trouble, Tuple{}) || return "the extension for CUDA.jl was not loaded"
    return Base.invokelatest(gpu_trouble)
end

function device_of(name::AbstractString)
    name == "cpu" && return CPU()
    if name == "gpu"
        hasmethod(gpu_trouble, Tuple{}) || throw(ArgumentError("device gpu needs CUDA.jl: call load_gpu!() first"))
        trouble = gpu_trouble()
        isempty(trouble) || throw(ArgumentError("device gpu cannot be used: $trouble"))
        return GPU()
    end
    throw(ArgumentError("the device \"$name\" is not known; there are cpu and gpu"))
end
