module AssayTrainerCUDAExt

using AssayTrainer: AssayTrainer, GPU
using CUDA: CUDA
using cuDNN: cuDNN

AssayTrainer.move(::GPU, array::AbstractArray) = CUDA.CuArray(array)

AssayTrainer.window(::GPU, flat::CUDA.CuVector, range::UnitRange{Int}, dims::Dims) = reshape(view(flat, range), dims)

# Both packages renamed these within their fifth and first major versions.
const free_memory = isdefined(CUDA, :free_memory) ? CUDA.free_memory : CUDA.available_memory
const cudnn_works = isdefined(cuDNN, :has_cudnn) ? cuDNN.has_cudnn : cuDNN.functional

AssayTrainer.memory_in_use(::GPU) = Int(CUDA.total_memory() - free_memory())

function AssayTrainer.gpu_trouble()
    CUDA.functional() || return "CUDA.jl is not functional on this machine; CUDA.versioninfo() says why"
    cudnn_works() || return "cuDNN is not functional on this machine"
    return ""
end

function AssayTrainer.gpu_name()
    device = CUDA.device()
    return string(CUDA.name(device), ", ", round(Int, CUDA.totalmem(device) / 2^20), " MiB")
end

end
