# Where arrays live while the network is trained. The GPU's methods are in the CUDA extension, so that nobody without a
# GPU has to install CUDA.jl.

abstract type Device end

"""Arrays stay in main memory."""
struct CPU <: Device end

"""Arrays go to the memory of an NVIDIA GPU. Needs CUDA.jl: see [`load_gpu!`](@ref)."""
struct GPU <: Device end

"""
    move(device, array)

The array on the device; on the CPU the array itself.
"""
move(::CPU, array::AbstractArray) = array
function move end

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

Load CUDA.jl if the project has it, and say why no GPU can be used; an empty string means that one can.

Its methods can be called from the next call on, not within this one.
"""
function load_gpu!()
    isnothing(Base.find_package("CUDA")) && return "CUDA.jl is not in the Julia project"
    try
        Base.require(Main, :CUDA)
    catch error
        return "CUDA.jl cannot be loaded: $(first(split(sprint(showerror, error), '\n')))"
    end
    hasmethod(gpu_trouble, Tuple{}) || return "the extension for CUDA.jl was not loaded"
    return Base.invokelatest(gpu_trouble)
end

function device_of(name::AbstractString)
    name == "cpu" && return CPU()
    if name == "gpu"
        hasmethod(gpu_trouble, Tuple{}) || throw(ArgumentError("device gpu needs CUDA.jl: call load_gpu!() first"))
        return GPU()
    end
    throw(ArgumentError("the device \"$name\" is not known; there are cpu and gpu"))
end
