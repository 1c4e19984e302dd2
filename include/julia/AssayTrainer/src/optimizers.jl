# The contract's optimisers as rules of Optimisers.jl. The learning rate is set before every update.
#
# Weight decay is a part of the gradient, but for AdamW, where it is apart from it: x - rate * (step + decay * x).

"""
    adam(; beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0)

Adam (Kingma and Ba 2015).
"""
adam(; beta1::Real = 0.9, beta2::Real = 0.999, epsilon::Real = 1e-8, weight_decay::Real = 0.0) =
    decayed(weight_decay, Optimisers.Adam(0.0, (Float64(beta1), Float64(beta2)), Float64(epsilon)))

"""
    adamw(; beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0)

Adam with decoupled weight decay (Loshchilov and Hutter 2019).
"""
adamw(; beta1::Real = 0.9, beta2::Real = 0.999, epsilon::Real = 1e-8, weight_decay::Real = 0.0) =
    Optimisers.AdamW(0.0, (Float64(beta1), Float64(beta2)), Float64(weight_decay), Float64(epsilon))

"""
    sgd(; momentum = 0.0, nesterov = false, weight_decay = 0.0)

Stochastic gradient descent, with heavy-ball or Nesterov momentum.
"""
function sgd(; momentum::Real = 0.0, nesterov::Bool = false, weight_decay::Real = 0.0)
    momentum == 0 && return decayed(weight_decay, Optimisers.Descent(0.0))
    rule = nesterov ? Optimisers.Nesterov : Optimisers.Momentum
    return decayed(weight_decay, rule(0.0, Float64(momentum)))
end

"""
    rmsprop(; rho = 0.9, epsilon = 1e-8, weight_decay = 0.0)

RMSProp (Hinton 2012), not centred.
"""
rmsprop(; rho::Real = 0.9, epsilon::Real = 1e-8, weight_decay::Real = 0.0) =
    decayed(weight_decay, Optimisers.RMSProp(0.0, Float64(rho), Float64(epsilon)))

decayed(decay::Real, rule) =
    decay == 0 ? rule : Optimisers.OptimiserChain(Optimisers.WeightDecay(Float64(decay)), rule)
