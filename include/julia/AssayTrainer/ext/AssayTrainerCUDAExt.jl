module AssayTrainerCUDAExt

using AssayTrainer: AssayTrainer
using CUDA: CUDA

AssayTrainer.move(::AssayTrainer.GPU, array::AbstractArray) = CUDA.CuArray(array)

function AssayTrainer.gpu_trouble()
    CUDA.functional() && return ""
    return "CUDA.jl is not functional on this machine; CUDA.versioninfo() says why"
end

function AssayTrainer.gpu_name()
    device = CUDA.device()
    return string(CUDA.name(device), ", ", round(Int, CUDA.totalmem(device) / 2^20), " MiB")
end

end
