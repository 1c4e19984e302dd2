# What the NumPy reference backend came to with small networks (tests/train/golden.py, where the file's shape is
# described), and how its cases become trainers.

const GOLDEN = parsefile(joinpath(@__DIR__, "golden.toml"))
const PLANS = Dict(plan["name"] => plan for plan in GOLDEN["plans"])
const SOURCES = Int32.(GOLDEN["data"]["sources"])

rows_of(matrix) = Float64[matrix[i][j] for i in eachindex(matrix), j in eachindex(first(matrix))]

element(case) = case["dtype"] == "float32" ? Float32 : Float64

"""Add a layer of a case to a blueprint."""
function add!(blueprint, layer)
    kind, σ = layer["type"], get(layer, "activation", "identity")
    if kind == "dense"
        dense!(blueprint, layer["in"], layer["out"], layer["bias"], σ)
    elseif kind == "embedding"
        columns = layer["columns"]
        places, sizes = [c["feature"] for c in columns], [c["vocabulary"] for c in columns]
        embedding!(blueprint, layer["in"], layer["dim"], places, sizes)
    elseif kind == "unflatten"
        unflatten!(blueprint, layer["size"])
    elseif kind == "flatten"
        flatten!(blueprint, layer["channels"], layer["width"])
    elseif kind == "batch_norm"
        batch_norm!(blueprint, layer["shape"], layer["momentum"], layer["epsilon"], σ)
    elseif kind == "layer_norm"
        layer_norm!(blueprint, layer["size"], layer["epsilon"], σ)
    elseif kind == "dropout"
        dropout!(blueprint, layer["shape"], layer["rate"])
    elseif kind == "conv"
        sizes = (layer[name] for name in ("channels", "width", "out", "kernel", "stride", "padding"))
        conv!(blueprint, sizes..., layer["bias"], σ)
    elseif kind == "max_pool"
        max_pool!(blueprint, layer["channels"], layer["width"], layer["window"], layer["stride"])
    else
        skip!(blueprint, layer["connection"])
        foreach(inner -> add!(blueprint, inner), layer["layers"])
        done!(blueprint)
    end
    return blueprint
end

function rule_of(settings)
    name, weight_decay = settings["name"], settings["weight_decay"]
    name == "sgd" && return sgd(; momentum = settings["momentum"], nesterov = settings["nesterov"], weight_decay)
    name == "rmsprop" && return rmsprop(; rho = settings["rho"], epsilon = settings["epsilon"], weight_decay)
    make = name == "adam" ? adam : adamw
    return make(; beta1 = settings["beta1"], beta2 = settings["beta2"], epsilon = settings["epsilon"], weight_decay)
end

"""The parameters and the running statistics of a case's flat list of all arrays."""
function parted(case, flat)
    parameters, statistics, at = Float64[], Float64[], 0
    for array in case["arrays"]
        count = prod(array["shape"])
        append!(array["trainable"] ? parameters : statistics, flat[at+1:at+count])
        at += count
    end
    return parameters, statistics
end

function build(case; options...)
    blueprint = Blueprint(case["dtype"])
    foreach(layer -> add!(blueprint, layer), case["layers"])
    parameters, statistics = parted(case, case["first"])
    clipping = get(case, "clipping", nothing)
    return Trainer(
        blueprint, parameters, statistics;
        loss = case["loss"]["name"],
        huber_delta = case["loss"]["huber_delta"],
        class_weights = get(case["loss"], "class_weights", nothing),
        optimizer = rule_of(case["optimizer"]),
        aggregation = case["aggregation"]["name"],
        byzantine = case["aggregation"]["byzantine"],
        clipping = isnothing(clipping) ? nothing :
                   (clipping["max_norm"], clipping["noise_deviation"], clipping["expected_rows"]),
        seed = case["seed"],
        options...,
    )
end

function features(case)
    x = Float32.(permutedims(rows_of(GOLDEN["data"]["x"])))
    x[:, get(case, "nan_rows", Int[]).+1] .= NaN32
    return x
end

function labels(case)
    column = GOLDEN["data"][case["target"]]
    return case["target"] == "numbers" ? Float64.(column) : Int.(column)
end

"""The rows' places and the row numbers of updates `first + 1` to `last` of a plan."""
function updates(plan, first, last)
    offsets = Int.(plan["offsets"][first+1:last+1])
    return Int.(plan["rows"][offsets[1]+1:offsets[end]]), offsets .- offsets[1]
end

"""Make the updates of a case from `first` to `last`; returns what they came to, and the rows' losses."""
function train!(trainer, case, first, last)
    plan, x, y = PLANS[case["plan"]], features(case), labels(case)
    rows, offsets = updates(plan, first, last)
    rates, losses = Float64.(plan["learning_rates"][first+1:last]), zeros(Float32, length(rows))
    if !haskey(case, "clipping")
        return run!(trainer, x, y, rows, offsets, rates, first, losses, SOURCES), losses
    end
    total = AssayTrainer.Tally()
    for i in eachindex(rates)
        span, step = offsets[i]+1:offsets[i+1], first + i - 1
        noise = Float64.(case["noise"][step+1])
        part = run_private!(trainer, x, y, rows[span], rates[i], step, view(losses, span), noise)
        for name in (:loss_sum, :rows, :norm_sum, :updates, :skipped, :clipped)
            setproperty!(total, name, getproperty(total, name) + getproperty(part, name))
        end
        total.norm_max = max(total.norm_max, part.norm_max)
    end
    return total, losses
end

function weights(trainer)
    parameters, statistics = zero(trainer.parameters), zero(trainer.statistics)
    AssayTrainer.read_weights!(trainer, parameters, statistics)
    return parameters, statistics
end

# Float64 agrees but for rounding; in Float32 the rounding of fifty updates adds up.
agrees(::Type{Float64}, a, b) = isapprox(a, b; rtol = 1e-8, atol = 1e-10, nans = true)
agrees(::Type{Float32}, a, b) = isapprox(a, b; rtol = 1e-4, atol = 1e-6, nans = true)
